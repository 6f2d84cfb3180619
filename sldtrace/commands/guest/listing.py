"""`sldtrace guest list`: describes the bundled guests."""

import json
import textwrap
from typing import Any

import click

from sldtrace.vmm import guests
from sldtrace.vmm.guests import Guest


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead.")
def list_guests(as_json: bool) -> None:
    """Describe the bundled guests: what each does, what it provokes, what to expect."""
    bundled = [guests.load(name) for name in guests.names()]
    if as_json:
        click.echo(json.dumps([_describe(one) for one in bundled], indent=2))
        return
    for one in bundled:
        click.echo(f"{one.name}: {one.summary}")
        for key, note in one.notes:
            click.echo(textwrap.indent(textwrap.fill(f"{key}: {note}", 100, subsequent_indent="  "), "  "))
        click.echo(f"  Address: {instruction(one)}{_operand(one)}")
        if one.every:
            click.echo(f"  N: {one.every:,}, or as in --every")
        click.echo()


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
        "locked_address": one.locked,
        "operand_address": one.operand,
        "operand_bytes": one.width,
        "crosses_cache_line": one.crosses_line,
        "every": one.every or None,
        "runs_as_program": not one.privileged,
    }
