"""A report as text for a terminal."""

import textwrap
from collections.abc import Callable, Iterator

from sldtrace.reporters import tables
from sldtrace.reporters.document import (
    AtLeast,
    Block,
    Cell,
    Command,
    Fact,
    Facts,
    Lanes,
    Overview,
    Report,
    Section,
    Step,
    Steps,
    Table,
    Text,
    Unit,
)
from sldtrace.reporters.style import Style
from sldtrace.reporters.wording import utc
from sldtrace.text.phrases import length, percent

_MARK_WIDTH = 8
_LEFT = {Unit.TEXT, Unit.UTC, Unit.ADDRESS}


class TextReporter:
    """For people: titles, paragraphs and tables that fit the terminal, with colour where it has any."""

    name = "text"
    extension = "txt"
    pictures = False

    def check(self) -> None:
        """It needs nothing more."""

    def render(self, report: Report, style: Style) -> str:
        """The whole text, with a newline at its end."""
        sections = ["\n".join(_section(each, style, 0)) for each in report.sections]
        return "\n\n".join(sections) + "\n"


def _section(section: Section, style: Style, indent: int) -> Iterator[str]:
    inner = indent
    blank = False
    if section.title:
        first, *rest = _wrap(section.title, style, indent)
        yield style.loud(first, section.tone)
        yield from rest
        inner += 2
        blank = True
    for block in section.blocks:
        yield from _block(block, style, inner)
        blank = True
    for part in section.parts:
        if blank:
            yield ""
        yield from _section(part, style, inner)
        blank = True


def _block(block: Block, style: Style, indent: int) -> Iterator[str]:
    match block:
        case Text():
            yield from _wrap(block.text, style, indent)
        case Command():
            yield from _command(block, style, indent)
        case Facts():
            for fact in block.facts:
                yield from _fact(fact, block.label_width, style, indent)
        case Table():
            yield from _table(block, style, indent)
        case Steps():
            yield from _steps(block, style, indent)
        case Overview():
            yield from _overview(block, style, indent)
        case Lanes():
            yield from _lanes(block, style, indent)


def _wrap(text: str, style: Style, indent: int, lead: str = "", hanging: int | None = None) -> list[str]:
    margin = " " * (indent + (len(lead) if hanging is None else hanging))
    return textwrap.wrap(
        text,
        style.width,
        initial_indent=" " * indent + lead,
        subsequent_indent=margin,
        break_on_hyphens=not lead,
    )


# Commands are not wrapped: they are there to be copied.
def _command(command: Command, style: Style, indent: int) -> Iterator[str]:
    yield " " * indent + command.lead + command.text
    if command.note:
        yield from _wrap(f"({command.note})", style, indent + len(command.lead), hanging=1)


def _fact(fact: Fact, label_width: int, style: Style, indent: int) -> Iterator[str]:
    mark = f"{fact.mark:<{_MARK_WIDTH}}" if fact.mark else ""
    lead = f"{mark}{fact.label:<{label_width}}"
    lines = _wrap(fact.text, style, indent, lead)
    if mark:
        lines[0] = lines[0].replace(mark, style.loud(mark, fact.tone), 1)
    yield from lines
    for command in fact.commands:
        yield from _command(command, style, indent + len(lead))


def _steps(steps: Steps, style: Style, indent: int) -> Iterator[str]:
    for number, step in enumerate(steps.steps, 1):
        yield from _step(step, style, indent, f"{number}. ")


def _step(step: Step, style: Style, indent: int, lead: str) -> Iterator[str]:
    yield from _wrap(step.what, style, indent, lead)
    if step.command:
        yield " " * (indent + len(lead) + 2) + step.command
    for fact in (Fact("cost", step.cost), *step.details):
        yield from _wrap(f"{fact.label}: {fact.text}", style, indent + len(lead))
        for command in fact.commands:
            yield from _command(command, style, indent + len(lead) + 2)


# A step that several verdicts share is printed once, after the last of them.
def _overview(overview: Overview, style: Style, indent: int) -> Iterator[str]:
    yield from _wrap(overview.title, style, indent)
    for fact in overview.facts:
        yield from _fact(fact, 10, style, indent + 2)
    if overview.nothing is not None:
        yield ""
        first, *rest = _wrap(overview.nothing.label, style, indent)
        yield style.loud(first, overview.nothing.tone)
        yield from rest
        yield from _wrap(overview.nothing.text, style, indent + 2)
    for number, verdict in enumerate(overview.verdicts, 1):
        yield ""
        first, *rest = _wrap(verdict.title, style, indent, hanging=2)
        yield style.loud(first, verdict.tone)
        yield from rest
        related = ", ".join(each.text for each in verdict.related)
        facts = (("who", verdict.affected), ("when", verdict.when), ("why", verdict.cause), ("also", related))
        for label, text in facts:
            if text:
                yield from _fact(Fact(label, text), 8, style, indent + 2)
        following = overview.verdicts[number : number + 1]
        if verdict.step is not None and (not following or following[0].step != verdict.step):
            yield from _step(verdict.step, style, indent + 2, "first   ")
    if overview.more:
        yield ""
        yield from _wrap(overview.more, style, indent)


def _lanes(lanes: Lanes, style: Style, indent: int) -> Iterator[str]:
    margin = max(len(name) for name, _ in lanes.lanes)
    margin += bool(margin)
    # On a narrow terminal a character stands for several.
    step = -(-len(lanes.lanes[0][1]) // (style.width - indent - margin - 2))
    width = -(-len(lanes.lanes[0][1]) // step)
    gap = " " * max(width + 2 - len(lanes.start) - len(lanes.end), 1)
    if margin + len(lanes.start + gap + lanes.end) + indent <= style.width:
        yield " " * (indent + margin) + lanes.start + gap + lanes.end
    else:
        yield from _wrap(f"{lanes.start} to {lanes.end}", style, indent)
    for name, lane in lanes.lanes:
        # "#" sorts before "+", and that before ".": what is worse is shown.
        shown = "".join(min(lane[at : at + step]) for at in range(0, len(lane), step))
        yield " " * indent + f"{name:<{margin}}|{shown}|"
    yield from _wrap(lanes.legend + (f" / {step}" if step > 1 else ""), style, indent)


def _table(table: Table, style: Style, indent: int) -> Iterator[str]:
    yield from _rows(table, style, indent)
    if table.omitted and table.omitted_at == len(table.rows):
        yield from _wrap(f"and {table.omitted:,} more", style, indent)


def _rows(table: Table, style: Style, indent: int) -> Iterator[str]:
    cells = [
        [cell(value, column.unit) for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    if table.omitted and table.omitted_at < len(cells):
        cells.insert(table.omitted_at, ["..."] * len(table.columns))
    headers = [column.header for column in table.columns]
    right = [number > 0 and column.unit not in _LEFT for number, column in enumerate(table.columns)]
    width = style.width - indent
    made = tables.lay_out(headers, cells, right, None if table.stacked else width)
    if max(map(len, made.splitlines())) > width:
        names = [header.replace("\n", " ") for header in headers[1:]]
        for first, *others in cells:
            named = [f"{name} {text}" for name, text in zip(names, others, strict=True)]
            shown = [text for text, value in zip(named, others, strict=True) if value != "-"]
            yield from _wrap(f"{first}: {', '.join(shown)}", style, indent, hanging=4)
        return
    yield from textwrap.indent(made, " " * indent).splitlines()


def cell(value: Cell, unit: Unit) -> str:
    """A value of a table as people read it, the same in every format."""
    if value is None:
        return "-"
    if isinstance(value, AtLeast):
        return f">{length(value.ns)}"
    if isinstance(value, str):
        return value
    return _FORMS[unit](value)


def _count(count: float) -> str:
    return f"{count:,}" if count < 1_000_000_000 else f"{count / 1e6:,.0f} M"


_FORMS: dict[Unit, Callable[[float], str]] = {
    Unit.TEXT: str,
    Unit.NUMBER: str,
    Unit.COUNT: _count,
    Unit.DURATION: lambda ns: length(int(ns)),
    Unit.BELOW: lambda ns: length(int(ns)),
    Unit.MS: lambda ms: f"{ms} ms",
    Unit.UTC: lambda ns: utc(int(ns), date=False).removesuffix(" UTC"),
    Unit.CLOCK: lambda ns: f"{ns / 1e9:.3f}",
    Unit.ADDRESS: lambda address: f"{int(address):#x}",
    Unit.SHARE: lambda share: percent(share, 1),
    Unit.RATE: lambda rate: f"{rate:,.1f}",
}
