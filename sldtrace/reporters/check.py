"""`sldtrace check` for a person, and as JSON. Needs nothing that is not in Python itself."""

import dataclasses
import json
import textwrap
from collections.abc import Iterator

from sldtrace.checks import verdict
from sldtrace.checks.exposure import Exposure
from sldtrace.checks.result import Check, Fix, State
from sldtrace.checks.verdict import Result
from sldtrace.reporters.style import Style
from sldtrace.text.escape import escape

VERSION = 1
"""Of the JSON; grows when a field changes its meaning or goes away."""

_MARKS = {
    State.OK: "ok",
    State.NOTE: "note",
    State.LIMIT: "limit",
    State.PROBLEM: "PROBLEM",
    State.UNKNOWN: "unseen",
}
_COLOURS = {State.PROBLEM: "31;1", State.LIMIT: "33;1", State.UNKNOWN: "36"}
_TEXT_LIMIT = 4096


def render(result: Result, style: Style) -> str:
    """The verdict first, then the checks by group, then what could not be seen."""
    parts = ["\n".join(_headline(result, style))]
    for title, checks in result.groups.items():
        lines = [line for check in checks for line in _check(check, style)]
        parts.append("\n".join([title, *lines]))
    unseen = [check.name for check in result.checks if check.state is State.UNKNOWN]
    if unseen:
        text = (
            f"Not seen: {', '.join(unseen)}. What was not seen is not judged; each says above how to see it."
        )
        parts.append(textwrap.fill(text, style.width))
    return "\n\n".join(parts) + "\n"


def _headline(result: Result, style: Style) -> Iterator[str]:
    if not result.exposed:
        word, colour = "NOT EXPOSED", "32;1"
    elif result.recordable is False:
        word, colour = "EXPOSED, BUT NOT RECORDABLE HERE", "31;1"
    else:
        word, colour = "EXPOSED", "31;1" if result.exposure is Exposure.KILLS else "33;1"
    first, *rest = textwrap.wrap(f"{word}: {escape(result.why, _TEXT_LIMIT)}", style.width)
    yield style.loud(first, colour)
    yield from rest
    recorded = {
        True: "It can be recorded here.",
        False: "It cannot be recorded here, see Recording."
        if result.exposed
        else "A recording would not work here either, see Recording.",
        None: "Whether it can be recorded here was not seen.",
    }
    yield recorded[result.recordable]
    if result.foreign_hypervisor:
        yield "A module other than KVM runs guests here, see Other hypervisors."
    for fix in verdict.next_steps(result):
        yield from _fix(fix, style, "next: ", 2)


def _check(check: Check, style: Style) -> Iterator[str]:
    mark = f"{_MARKS[check.state]:<8}"
    lead = f"  {mark}{check.name:<18}"
    lines = textwrap.wrap(
        escape(check.text, _TEXT_LIMIT),
        style.width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
    )
    if check.state in _COLOURS:
        lines[0] = lines[0].replace(mark, style.loud(mark, _COLOURS[check.state]), 1)
    yield from lines
    for fix in check.fixes:
        yield from _fix(fix, style, "do: ", len(lead))


# Commands are not wrapped: they are there to be copied.
def _fix(fix: Fix, style: Style, word: str, indent: int) -> Iterator[str]:
    yield " " * indent + word + escape(fix.do, _TEXT_LIMIT)
    if fix.cost:
        margin = " " * (indent + len(word))
        yield textwrap.fill(
            f"({escape(fix.cost)})", style.width, initial_indent=margin, subsequent_indent=margin + " "
        )


def as_json(result: Result) -> str:
    """One object, described in docs/check.md; only ASCII is written."""
    content = {
        "version": VERSION,
        "verdict": result.verdict,
        "exposure": result.exposure.value,
        "why": result.why,
        "recordable": result.recordable,
        "foreign_hypervisor": result.foreign_hypervisor,
        "system": result.system,
        "checks": [
            {"group": title.lower(), **dataclasses.asdict(check)}
            for title, checks in result.groups.items()
            for check in checks
        ],
    }
    return json.dumps(content, indent=2)
