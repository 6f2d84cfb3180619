"""Makes the tables of docs/recording-format.md from bpf/events.h: python -m tools.format_page."""

import sys
from collections.abc import Callable
from pathlib import Path

from sldtrace.errors import EXIT_ERROR, SldtraceError
from sldtrace.recording import schema as schemas
from sldtrace.recording.layout import Enumeration, Record, Schema

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recording-format.md"
BEGIN = "<!-- made by python -m tools.format_page from bpf/events.h: do not edit -->"
END = "<!-- end of what is made -->"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _record(record: Record) -> list[str]:
    rows = [
        [str(field.offset), f"`{field.name}`", field.type, field.unit, field.meaning, str(field.default or 0)]
        for field in record.fields
    ]
    title = f"### `{record.name}`: kind {record.number}, {record.size} bytes"
    return [title, "", *table(["offset", "field", "type", "unit", "meaning", "if missing"], rows), ""]


def _enumeration(each: Enumeration) -> list[str]:
    rows = [[str(value), f"`{name.lower()}`", each.meanings[name]] for name, value in each.values.items()]
    return [f"### `enum {each.name}`", "", *table(["value", "name", "meaning"], rows), ""]


def tables(schema: Schema) -> str:
    """The Markdown between the markers."""
    lines = [f"Schema version {schema.version}.", ""]
    for record in schema.records.values():
        lines += _record(record)
    for each in schema.enums.values():
        lines += _enumeration(each)
    return "\n".join(lines)


def updated(page: str, schema: Schema) -> str:
    """The page with fresh tables; raises SldtraceError when it lacks the markers."""
    return filled(page, BEGIN, tables(schema))


def filled(page: str, mark: str, made: str) -> str:
    """A page with what is made between the line `mark` and END; raises SldtraceError when it lacks those."""
    before, begin, rest = page.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SldtraceError("the page has lost its markers", f"put back the lines {mark} and {END}")
    return f"{before}{begin}\n\n{made}\n{end}{after}"


def write(path: Path, update: Callable[[str], str]) -> None:
    """Writes a page anew; ends the program with one line if that cannot be done."""
    try:
        path.write_text(update(path.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, SldtraceError) as error:
        print(f"sldtrace: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)


if __name__ == "__main__":
    write(PAGE, lambda page: updated(page, schemas.current()))
