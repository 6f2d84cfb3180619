"""Before and after: the verdict for each vCPU and address, and for all, and why."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.analyzers.finding import Finding
from sldtrace.comparison import bootstrap
from sldtrace.comparison.bootstrap import Interval
from sldtrace.comparison.measure import LEAST_BLOCKS, SHORTEST_BLOCK_NS, Key, Measured, Place, metric
from sldtrace.dataset.subject import Subject
from sldtrace.engine.block_sums import METRICS
from sldtrace.strenum import StrEnum
from sldtrace.text.phrases import length, plural

LEAST_CHANGE = 0.02
"""Of the share of time in penalties, where the findings are as severe as before; a smaller one is none."""

LEAST_PROGRESS = 0.1
"""Of the larger rate of progress, where the findings are as severe as before; a smaller change is none."""

WIDEST = 0.1
"""Of the interval of the change of the share, to either side: beyond it, "the same" would not be known."""

MOST_LOST = 0.01
"""Lost traps, of all; with more, rates are not known."""


class Outcome(StrEnum):
    """The worst first."""

    WORSE = "worse"
    NOT_COMPARABLE = "not comparable"
    CANNOT_TELL = "cannot tell"
    SAME = "same"
    BETTER = "better"
    FIXED = "fixed"


@dataclass(frozen=True)
class Side:
    """One vCPU and address in one recording.

    verdict: of the worst finding about it, empty for none; penalty_share: of the time; progress_per_s: traps
    after which the instruction could execute.
    """

    traps: int
    verdict: str
    traps_per_s: Interval
    early_returns_per_s: Interval
    penalty_share: Interval
    progress_per_s: Interval


@dataclass(frozen=True)
class Row:
    """One vCPU and address. rip None: the addresses are not the same in both, and are taken together."""

    subject: Subject
    rip: int | None
    outcome: Outcome
    why: str
    before: Side | None
    after: Side | None
    change: Interval | None
    """Of the share of time in penalties."""
    progress_change: Interval | None
    """Of the progress a second."""


@dataclass(frozen=True)
class Setting:
    """A fact that is not the same in both."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """Of two recordings."""

    outcome: Outcome
    why: str
    rows: Sequence[Row]
    settings: Sequence[Setting]


def compare(before: Measured, after: Measured) -> Comparison:
    """before, after: as measure gives them."""
    changed = list(settings(before, after))
    reason = next(_obstacles(before, after), None)
    if reason:
        return Comparison(Outcome.NOT_COMPARABLE, reason, [], changed)
    keys = dict.fromkeys([*before.places, *after.places])
    rows = [row for key in keys for row in _rows(before, after, key)]
    rows.sort(key=lambda row: list(Outcome).index(row.outcome))
    outcome, why = _overall(rows, dict.fromkeys([*before.verdicts, *after.verdicts]))
    return Comparison(outcome, why, rows, changed)


def settings(before: Measured, after: Measured) -> Iterator[Setting]:
    """What is not the same in the facts of the hosts."""
    paths = (
        ("host", "name"),
        ("kernel", "release"),
        ("kernel", "tick_ns"),
        ("cpu", "model"),
        ("split_lock", "mode"),
        ("split_lock", "mitigate"),
        ("kvm", "module"),
        ("tool", "version"),
    )
    for path in paths:
        one, two = (_fact(each.trace.facts, path) for each in (before, after))
        if one != two:
            yield Setting(".".join(path), one, two)
    for name in ("exits", "filters"):
        one, two = (_fact(each.trace.facts, (name,)) for each in (before, after))
        if one != two:
            yield Setting(f"record: {name}", one, two)


def _fact(facts: Mapping[str, Any], path: Sequence[str]) -> str:
    tree: Any = facts
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return "-" if tree is None else str(tree)


def _obstacles(before: Measured, after: Measured) -> Iterator[str]:
    for name, one in (("BEFORE", before), ("AFTER", after)):
        start, end = one.trace.span_ns
        if one.blocks < LEAST_BLOCKS or one.block_ns < SHORTEST_BLOCK_NS:
            least = length(LEAST_BLOCKS * SHORTEST_BLOCK_NS)
            yield f"{name} has {length(end - start)} only; record {least} or more"
        lost = sum(loss.count for loss in one.trace.recording.losses if loss.kind == "trap")
        counted = lost + one.trace.recording.counts.get("trap", 0)
        if lost > MOST_LOST * counted:
            yield f"in {name} {plural(lost, 'trap')} of {counted:,} were lost"
        if one.left_out:
            yield f"{name} has more addresses than can be compared"
    if before.trace.simulated != after.trace.simulated:
        yield "one recording is simulated, the other is not"


def _rows(before: Measured, after: Measured, key: Key) -> Iterator[Row]:
    one, two = before.places.get(key, {}), after.places.get(key, {})
    subject = next(iter((one or two).values())).subject
    if key in before.ambiguous | after.ambiguous:
        why = "several threads have this name: they cannot be distinguished"
        yield Row(subject, None, Outcome.NOT_COMPARABLE, why, None, None, None, None)
        return
    shared = set(one) & set(two)
    if one and two and not shared:
        yield _row(subject, None, _together(one), _together(two), before, after)
        return
    for rip in dict.fromkeys([*one, *two]):
        first, second = ((each.sums, each.finding) if each else None for each in (one.get(rip), two.get(rip)))
        yield _row(subject, rip, first, second, before, after, bool(one), bool(two))


Data = tuple[npt.NDArray[np.int64], Finding[Any] | None]


def _together(places: Mapping[int, Place]) -> Data:
    found = [place.finding for place in places.values() if place.finding is not None]
    worst = max(found, key=lambda each: each.severity, default=None)
    return np.sum([place.sums for place in places.values()], axis=0), worst


def _row(
    subject: Subject,
    rip: int | None,
    first: Data | None,
    second: Data | None,
    before: Measured,
    after: Measured,
    in_before: bool = True,
    in_after: bool = True,
) -> Row:
    one = _side(first, before) if in_before else None
    two = _side(second, after) if in_after else None
    if one is None or two is None:
        where = "BEFORE" if one is None else "AFTER"
        why = f"no trap of it in {where}" + (
            ": fixed, if it ran and did the same work" if two is None else ""
        )
        return Row(subject, rip, Outcome.NOT_COMPARABLE, why, one, two, None, None)
    share = bootstrap.difference(*(_shares(*each) for each in ((first, before), (second, after))))
    progress = bootstrap.difference(*(_progress(*each) for each in ((first, before), (second, after))))
    outcome, why = _judge(one, two, share, progress, _rank(first), _rank(second))
    return Row(subject, rip, outcome, why, one, two, share, progress)


def _rank(data: Data | None) -> int:
    return 0 if data is None or data[1] is None else int(data[1].severity)


# share, progress: the changes; before, after: how severe the findings are, 0 for none.
def _judge(
    one: Side, two: Side, share: Interval, progress: Interval, before: int, after: int
) -> tuple[Outcome, str]:
    verdicts = f"{one.verdict or 'no finding'} before, {two.verdict or 'no finding'} after"
    if before == after:
        return _of_equals(one, two, share, progress, verdicts if before else "")
    if after < before:
        seen, direction = share.high < 0 or progress.low > 0, "better"
        outcome = Outcome.BETTER if after else Outcome.FIXED
    else:
        seen, direction = share.low > 0 or progress.high < 0, "worse"
        outcome = Outcome.WORSE
    if seen:
        return outcome, verdicts
    chance = "may be chance: neither the time in penalties nor the progress changed for the"
    return Outcome.CANNOT_TELL, f"{verdicts}, but that {chance} {direction}; record longer"


# verdicts: in words, empty where there is no finding: fewer traps are less progress then, which is no loss.
def _of_equals(
    one: Side, two: Side, share: Interval, progress: Interval, verdicts: str
) -> tuple[Outcome, str]:
    if share.excludes_0 and abs(share.value) >= LEAST_CHANGE:
        more = share.value > 0
        return (
            (Outcome.WORSE, "more time in penalties") if more else (Outcome.BETTER, "less time in penalties")
        )
    least = LEAST_PROGRESS * max(one.progress_per_s.value, two.progress_per_s.value)
    if verdicts and progress.excludes_0 and abs(progress.value) >= least:
        return (Outcome.BETTER, "more progress") if progress.value > 0 else (Outcome.WORSE, "less progress")
    lead = f"{verdicts}: " if verdicts else ""
    if max(-share.low, share.high) > WIDEST:
        return Outcome.CANNOT_TELL, f"{lead}the time in penalties varies too much; record longer"
    return Outcome.SAME, f"{lead}no change, or one that may be chance or is too small to matter"


def _shares(data: Data | None, one: Measured) -> npt.NDArray[np.float64]:
    return _per_block(data, one, "penalty_ns") / one.block_ns


def _progress(data: Data | None, one: Measured) -> npt.NDArray[np.float64]:
    return _per_block(data, one, "progress") / (one.block_ns / 1e9)


def _side(data: Data | None, one: Measured) -> Side:
    seconds = one.block_ns / 1e9
    counts = {name: _per_block(data, one, name) for name in METRICS}
    return Side(
        int(counts["traps"].sum()),
        data[1].verdict if data and data[1] else "",
        bootstrap.mean(counts["traps"] / seconds),
        bootstrap.mean(counts["early_returns"] / seconds),
        bootstrap.mean(counts["penalty_ns"] / one.block_ns),
        bootstrap.mean(counts["progress"] / seconds),
    )


def _per_block(data: Data | None, one: Measured, name: str) -> npt.NDArray[np.float64]:
    return np.zeros(one.blocks) if data is None else metric(data[0], name)


def _overall(rows: Sequence[Row], verdicts: Iterable[str]) -> tuple[Outcome, str]:
    if not rows and (named := ", ".join(verdicts)):
        why = f"no split-lock trap in either recording; findings that are not compared: {named}"
        return Outcome.NOT_COMPARABLE, why
    if not rows:
        return Outcome.SAME, "no split-lock trap in either recording"
    # Those that something was wrong with decide; the others only if nothing was.
    wrong = [row for row in rows if any(side and side.verdict for side in (row.before, row.after))]
    decisive = (wrong or list(rows))[0]
    if len(wrong or rows) == 1:
        return decisive.outcome, decisive.why
    same = sum(row.outcome == decisive.outcome for row in (wrong or rows))
    return decisive.outcome, f"{same:,} of {len(wrong or rows):,} threads and addresses: {decisive.why}"
