"""Writes a manual page for each command from what click knows: python -m tools.man_pages [FOLDER].

The folder is build/man by default. `pages()` has the same as data, from which the site's reference is made.
"""

import inspect
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import click

from sldtrace import cli
from sldtrace._version import __version__
from sldtrace.errors import EXIT_STATUSES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "man"
_STATUS = "Exit status:"
# Characters that roff or a font would replace; in a list without blanks a line may be broken after a comma.
_ESCAPES = str.maketrans({"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"})


@dataclass(frozen=True)
class Block:
    """A paragraph; `verbatim` has its own lines."""

    text: str
    verbatim: bool = False


@dataclass(frozen=True)
class Page:
    """What the manual says of one command.

    name: as in the page's name (sldtrace-guest-run); summary: a line; usage: arguments without the command's
    name; options: headings ("" without one) with the option's forms and its text; statuses: by number, for
    this command; see_also: names of pages.
    """

    name: str
    summary: str
    usage: str
    description: tuple[Block, ...]
    commands: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    statuses: tuple[tuple[int, str], ...]
    examples: tuple[str, ...]
    see_also: tuple[str, ...]


def pages() -> list[Page]:
    """All pages, each group before its commands."""
    return list(
        _pages(cli.main, click.Context(cli.main, info_name="sldtrace", **cli.main.context_settings), ())
    )


def _pages(command: click.Command, context: click.Context, parents: tuple[str, ...]) -> Iterator[Page]:
    children = []
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                children.append((name, child))
    yield _page(
        command, context, parents, [(name, child.get_short_help_str(200)) for name, child in children]
    )
    for name, child in children:
        inner = click.Context(child, info_name=name, parent=context)
        yield from _pages(child, inner, (*parents, str(context.info_name)))


def _page(
    command: click.Command,
    context: click.Context,
    parents: tuple[str, ...],
    children: list[tuple[str, str]],
) -> Page:
    words = (*parents, str(context.info_name))
    name = "-".join(words)
    of_help = [*_blocks(command.help or ""), *_blocks(command.epilog or "")]
    examples = tuple(line for block in of_help if _is_example(block) for line in _example(block))
    description = tuple(
        block for block in of_help if not _is_example(block) and not block.text.startswith(_STATUS)
    )
    also = ["-".join(parents)] if parents else []
    also += [f"{name}-{child}" for child, _ in children]
    return Page(
        name,
        command.get_short_help_str(200).rstrip("."),
        " ".join(command.collect_usage_pieces(context)),
        description,
        tuple(children),
        tuple(_options(command, context)),
        tuple(_statuses(words[1] if len(words) > 1 else "")),
        examples,
        tuple(also),
    )


def _blocks(text: str) -> Iterator[Block]:
    for part in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if part.startswith("\b"):
            yield Block(part.removeprefix("\b").strip("\n"), verbatim=True)
        elif part.strip():
            yield Block(" ".join(part.split()))


def _is_example(block: Block) -> bool:
    first = block.text.lstrip().partition("\n")[0]
    return block.verbatim and (first == "Examples:" or first.startswith("sldtrace "))


def _example(block: Block) -> Iterator[str]:
    for line in block.text.splitlines():
        if line.strip() != "Examples:":
            yield line.strip()


def _options(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """The options under the headings that --help has."""
    formatter = _Sections()
    command.format_options(context, formatter)
    for heading, rows in formatter.sections:
        if heading != "Commands":
            yield "" if heading == "Options" else heading, rows


class _Sections(click.HelpFormatter):
    # Takes what click would lay out for a terminal.
    def __init__(self) -> None:
        super().__init__(width=1000)
        self.sections: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        self._heading = ""

    def write_heading(self, heading: str) -> None:
        self._heading = heading

    def write_dl(self, rows: object, col_max: int = 30, col_spacing: int = 2) -> None:
        taken = tuple((str(form), " ".join(str(text).split())) for form, text in list(rows))  # type: ignore[call-overload]
        self.sections.append((self._heading, taken))


def _statuses(command: str) -> Iterator[tuple[int, str]]:
    """The exit statuses that this command has; all of them for `sldtrace` itself."""
    for status, meaning in EXIT_STATUSES.items():
        if not command:
            yield status, meaning.replace("`", "")
            continue
        lead, clauses = "", meaning.split("; ")
        if ": `" in clauses[0]:  # what the clauses have in common
            lead, clauses[0] = clauses[0].split(": ", 1)
            lead += ": "
        named = [re.match(r"((?:`[a-z-]+`(?:, )?)+): (.*)", clause, re.DOTALL) for clause in clauses]
        if not any(named):
            meaning, _, other = meaning.partition(", other than ")
            if command not in other:
                yield status, meaning
            continue
        texts = [match[2] for match in named if match and f"`{command}`" in match[1]]
        if texts:
            yield status, (lead + "; ".join(texts)).replace("`", "")


def roff(page: Page) -> str:
    """The page in the man(7) language; its date is $SOURCE_DATE_EPOCH, or none."""
    words = page.name.replace("-", " ")
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    date = datetime.fromtimestamp(int(epoch), timezone.utc).strftime("%Y-%m-%d") if epoch else ""
    title = [page.name.upper(), "1", date, f"sldtrace {__version__}", "User Commands"]
    lines = [
        ".TH " + " ".join(f'"{part}"' for part in title),
        ".SH NAME",
        f"{_text(page.name)} \\- {_text(page.summary)}",
        ".SH SYNOPSIS",
        f".B {_text(words)}",
        _text(page.usage),
        ".SH DESCRIPTION",
    ]
    for index, block in enumerate(page.description):
        if block.verbatim:
            lines += [".PP", ".nf", *map(_line, block.text.splitlines()), ".fi"]
        else:
            lines += [".PP"] * bool(index) + [_line(block.text)]
    if page.commands:
        lines.append(".SH COMMANDS")
        for name, summary in page.commands:
            lines += [".TP", f".B {_text(name)}", _line(summary)]
    lines.append(".SH OPTIONS")
    for heading, rows in page.options:
        lines += [f".SS {_quoted(heading)}"] if heading else []
        for form, text in rows:
            lines += [".TP", f".B {_text(form)}", _line(text)]
    lines.append(".SH EXIT STATUS")
    for status, meaning in page.statuses:
        lines += [".TP", f".B {status}", _line(meaning)]
    if page.examples:
        lines += [".SH EXAMPLES", ".nf", *map(_line, page.examples), ".fi"]
    if page.see_also:
        refs = [f".BR {_text(name)} (1){',' if name != page.see_also[-1] else ''}" for name in page.see_also]
        lines += [".SH SEE ALSO", *refs]
    return "\n".join([*lines, ""])


def _text(text: str) -> str:
    return text.translate(_ESCAPES)


def _quoted(text: str) -> str:
    return '"' + _text(text).replace('"', "\\(dq") + '"'


def _line(text: str) -> str:
    # A line that begins with a dot or an apostrophe would be a request.
    escaped = re.sub(r",(?=\S)", r",\\:", _text(text))
    return f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped


def write(folder: Path) -> list[Path]:
    """Writes all pages into the folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for page in pages():
        path = folder / f"{page.name}.1"
        path.write_text(roff(page), encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))} pages")
