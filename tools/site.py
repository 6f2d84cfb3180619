"""Lays out the sources of the documentation's site, which Sphinx then builds: python -m tools.site FOLDER.

The pages lie as they do in the checkout, so that their links hold, with the files that they link to and a
reference of all commands (docs/commands), which is made as the manual pages are. `make site` does both.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tools import man_pages

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")
"""The pages outside of docs/."""
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def lay_out(folder: Path) -> None:
    """Replaces the folder by the sources of the site."""
    if folder.exists():
        shutil.rmtree(folder)
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in PAGES)]
    files = {ROOT / "docs" / "conf.py", *pages, *(target for page in pages for target in _linked(page))}
    for path in sorted(files):
        place = folder / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    reference = folder / "docs" / "commands"
    reference.mkdir()
    for page in man_pages.pages():
        (reference / f"{page.name}.md").write_text(markdown(page), encoding="utf-8")


def _linked(page: Path) -> Iterator[Path]:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if "://" not in target and path.is_file():
            yield path


def markdown(page: man_pages.Page) -> str:
    """The reference of a command, with what its manual page has."""
    lines = [f"# {page.name.replace('-', ' ')}", "", f"{page.summary}.", ""]
    lines += ["```", f"{page.name.replace('-', ' ')} {page.usage}", "```", ""]
    for block in page.description:
        lines += ["```", block.text, "```", ""] if block.verbatim else [_plain(block.text), ""]
    if page.commands:
        lines += ["## Commands", ""]
        lines += [f"- [{name}]({page.name}-{name}.md): {_plain(text)}" for name, text in page.commands] + [""]
    lines += ["## Options", ""]
    for heading, rows in page.options:
        lines += [f"### {heading}", ""] if heading else []
        for form, text in rows:
            lines += [f"`{form}`", f": {_plain(text)}", ""]
    lines += ["## Exit status", ""]
    lines += [f"- {status}: {_plain(meaning)}" for status, meaning in page.statuses] + [""]
    if page.examples:
        lines += ["## Examples", "", "```", *page.examples, "```", ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text in which no character has a meaning in Markdown, but `code`."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_\[\]<>#|])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
