"""`sldtrace guest list`: describes the bundled guests."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from sldtrace.commands import output as outputs
from sldtrace.text import phrases
from sldtrace.vmm import guests
from sldtrace.vmm.guests import Guest


@click.command("list", short_help="What each bundled guest does.")
@outputs.options("text", "json")
def list_guests(form: str, output: Path | None) -> None:
    """Describe the bundled guests: what each does, what it provokes, what to expect."""
    bundled = [guests.load(name) for name in guests.names()]
    if form == "json":
        outputs.write(json.dumps([_describe(one) for one in bundled], indent=2) + "\n", output)
    else:
        outputs.write("".join(line + "\n" for one in bundled for line in _lines(one)), output)


def _lines(one: Guest) -> Iterator[str]:
    yield f"{one.name}: {one.summary}"
    for key, note in one.notes:
        yield textwrap.indent(textwrap.fill(f"{key}: {note}", 100, subsequent_indent="  "), "  ")
    yield f"  Address: {instruction(one)}{_operand(one)}"
    if one.every:
        yield f"  N: {one.every:,}, or as in --every"
    yield ""


def instruction(one: Guest, address: int | None = None) -> str:
    """The guest's instruction under test and its address (another one in a program), as text."""
    where = f"at {one.locked if address is None else address:#x}"
    if not one.width:
        return f"no lock; its instruction is {where}"
    kind = "split lock" if one.crosses_line else "aligned locked instruction"
    return f"{kind} {where}"


def _operand(one: Guest) -> str:
    return f", {one.width}-byte operand at {one.operand:#x}" if one.width else ""


def _describe(one: Guest) -> dict[str, Any]:
    return {
        "name": one.name,
        "summary": one.summary,
        "notes": [{"key": key, "text": text} for key, text in one.notes],
        "locked_address": phrases.address(one.locked),
        "operand_address": phrases.address(one.operand),
        "operand_bytes": one.width,
        "crosses_cache_line": one.crosses_line,
        "every": one.every or None,
        "runs_as_program": not one.privileged,
    }
