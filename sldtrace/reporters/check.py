"""The report of `sldtrace check`. Needs nothing that is not in Python itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from sldtrace.checks import verdict
from sldtrace.checks.exposure import Exposure
from sldtrace.checks.result import Check, Fix, State
from sldtrace.checks.verdict import Result
from sldtrace.reporters.document import Block, Command, Fact, Facts, Report, Section, Text, Tone
from sldtrace.text.escape import escape

VERSION = 1
"""Of the JSON; grows when a key changes its meaning or goes away."""

_MARKS = {
    State.OK: ("ok", None),
    State.NOTE: ("note", None),
    State.LIMIT: ("limit", Tone.WARNING),
    State.PROBLEM: ("PROBLEM", Tone.CRITICAL),
    State.UNKNOWN: ("unknown", Tone.UNKNOWN),
}
_NAME_WIDTH = 18
_TEXT_LIMIT = 4096


@dataclass(frozen=True)
class CheckEntry:
    """One check."""

    group: str
    name: Annotated[str, "stable; `vm` and `hypervisor module` may occur several times or not at all"]
    state: State
    text: str
    fixes: Sequence[Fix]
    data: Annotated[Mapping[str, Any], "by name: docs/check.md"]


@dataclass(frozen=True)
class CheckContent:
    """What `sldtrace check --format json` prints."""

    version: Annotated[int, "1; grows when a key changes its meaning or goes away"]
    verdict: Annotated[
        str,
        "`not exposed`, `exposed`, `exposed but not recordable here`, `exposed, recordability unknown` or "
        "`a guest, its host decides`",
    ]
    exposure: Exposure
    why: Annotated[str, "the reason for the exposure in a sentence"]
    recordable: Annotated[bool | None, "null: unknown"]
    foreign_hypervisor: Annotated[bool, "a module other than KVM runs guests"]
    system: Annotated[str, "the distribution"]
    checks: Sequence[CheckEntry]


def build(result: Result) -> Report:
    """The verdict first, then the checks by group, then what is unknown."""
    sections = [_verdict(result)]
    for title, checks in result.groups.items():
        facts = tuple(_fact(check) for check in checks)
        sections.append(Section(title, [Facts(facts, _NAME_WIDTH)]))
    unknown = [check.name for check in result.checks if check.state is State.UNKNOWN]
    if unknown:
        text = f"Unknown: {', '.join(unknown)}. Each says above how to see it."
        sections.append(Section(blocks=[Text(text)]))
    return Report(_content(result), sections)


def _verdict(result: Result) -> Section:
    if result.exposure is Exposure.UNKNOWN:
        word, tone = "A GUEST, ITS HOST DECIDES", Tone.UNKNOWN
    elif not result.exposed and result.bus_locks:
        word, tone = "VMS NOT EXPOSED, BUS LOCKS OF PROGRAMS TRAP", Tone.NOTICE
    elif not result.exposed:
        word, tone = "NOT EXPOSED", Tone.GOOD
    elif result.recordable is False:
        word, tone = "EXPOSED, BUT NOT RECORDABLE HERE", Tone.CRITICAL
    else:
        kills = result.exposure is Exposure.KILLS
        word, tone = "EXPOSED", Tone.CRITICAL if kills else Tone.WARNING
    return Section(f"{word}: {escape(result.why, _TEXT_LIMIT)}", list(_next(result)), tone=tone)


def _next(result: Result) -> Iterator[Block]:
    recordable = {
        True: "sldtrace record works here.",
        False: "sldtrace record does not work here: see Recording.",
        None: "It is unknown whether sldtrace record works here.",
    }
    yield Text(recordable[result.recordable])
    if result.foreign_hypervisor:
        yield Text("A module other than KVM runs guests here: see Other hypervisors.")
    for fix in verdict.next_steps(result):
        yield _command(fix, "next: ")


def _fact(check: Check) -> Fact:
    mark, tone = _MARKS[check.state]
    commands = tuple(_command(fix, "do: ") for fix in check.fixes)
    return Fact(check.name, escape(check.text, _TEXT_LIMIT), mark, tone, commands)


def _command(fix: Fix, lead: str) -> Command:
    return Command(escape(fix.do, _TEXT_LIMIT), lead, escape(fix.cost))


def _content(result: Result) -> CheckContent:
    return CheckContent(
        version=VERSION,
        verdict=result.verdict,
        exposure=result.exposure,
        why=result.why,
        recordable=result.recordable,
        foreign_hypervisor=result.foreign_hypervisor,
        system=result.system,
        checks=[
            CheckEntry(title.lower(), check.name, check.state, check.text, check.fixes, check.data)
            for title, checks in result.groups.items()
            for check in checks
        ],
    )
