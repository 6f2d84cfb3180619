"""What to change, once for a whole report: each remedy with its cost, how it is undone, and how it lasts."""

from collections.abc import Iterator, Sequence

from sldtrace.analyzers.finding import Remedy
from sldtrace.reporters.document import Command, Fact, Section, Step, Steps
from sldtrace.reporters.groups import Group

MOST = 50
"""Remedies that are listed."""

TITLE = "What to change, and what it costs"


def listed(groups: Sequence[Group]) -> list[Remedy]:
    """The remedies of all findings that are shown, each once, in their order; no more than MOST."""
    return list(dict.fromkeys(remedy for group in groups for remedy in _of(group)))[:MOST]


def section(remedies: Sequence[Remedy]) -> Iterator[Section]:
    """Nothing where there are none."""
    if remedies:
        yield Section(TITLE, [Steps(tuple(map(step, remedies)))])


def step(remedy: Remedy) -> Step:
    """One of them."""
    return Step(remedy.what, remedy.cost, remedy.command, tuple(_details(remedy)))


def references(group: Group, remedies: Sequence[Remedy]) -> str:
    """Which remedies are those of these findings, by their numbers; empty where there are none."""
    known = {remedy: number for number, remedy in enumerate(remedies, 1)}
    numbers = sorted({known[each] for each in _of(group) if each in known})
    return f'{", ".join(map(str, numbers))} of "{TITLE}"' if numbers else ""


def _of(group: Group) -> Iterator[Remedy]:
    return (remedy for each in group.shown for remedy in each.remedies)


def _details(remedy: Remedy) -> Iterator[Fact]:
    for label, text in (("undo", remedy.undo), ("lasting", remedy.persist), ("recovery", remedy.recovery)):
        if text:
            yield Fact(label, text)
    if len(remedy.verify) == 1:
        yield Fact("verify", remedy.verify[0])
    elif remedy.verify:
        compared = any("BEFORE" in each for each in remedy.verify)
        which = "with this recording as BEFORE.sld; FIXED or BETTER: it worked" if compared else ""
        yield Fact("verify", which, commands=tuple(map(Command, remedy.verify)))
