"""The requirements: sldtrace does not cause the problem that it looks for, and costs the guest least."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.observers.outcome import Cost, Outcome, Row

# Share of its progress that a guest may lose to `record`.
PROGRESS = 0.05
EINTR = 0.02
# Instructions that counting and timing every exit by reason may add to an exit-entry pair, by guest: with a
# return to the VMM (io) what bpftrace adds that only counts.
COUNTS = {"cpuid": 800, "io": 1039}
# The lab is deterministic: if two runs without an observer differ by more, something else ran.
DRIFT = 0.005
# The survivor runs in about fifty slices of a few jiffies each.
COARSE = 0.05
# A tool that adds fewer instructions to an exit was not attached.
_BLIND = 50
# EINTR rates that differ by less are equal.
_SAME = 0.002


@dataclass(frozen=True)
class Check:
    """One requirement: a sentence with the numbers, and whether it holds."""

    text: str
    holds: bool


def judge(outcome: Outcome) -> list[Check]:
    """All checks for which there was anything to measure; empty if nothing was measured."""
    return [*_valid(outcome), *_stays(outcome), *_counts(outcome)]


def _valid(outcome: Outcome) -> Iterator[Check]:
    for name, drift in outcome.drift.items():
        limit = COARSE if name == "survivor" else DRIFT
        yield Check(f"{name} alone, twice: {drift:.2%} apart, at most {limit:.1%}", drift <= limit)
    for row in outcome.rows:
        name, looks = row.observer.name, row.observer.job in ("times", "counts", "events", "bare")
        if row.failed:
            yield Check(f"{name} could not be measured: {row.failed}", False)
        elif row.observer.writes and not row.bytes_per_event:
            yield Check(f"{name} wrote nothing: it saw no events", False)
        elif looks and (cost := row.costs.get("cpuid")) and (cost.added or 0) < _BLIND:
            yield Check(f"{name} added nothing to an exit: it was not attached", False)


def _stays(outcome: Outcome) -> Iterator[Check]:
    for ours in (row for row in outcome.rows if row.observer.ours and row.observer.job == "stays"):
        name = ours.observer.name
        for guest in ("cpuid", "io"):
            if cost := ours.costs.get(guest):
                text = (
                    f"{name}: {guest} guest keeps {cost.ratio:.1%} of its loops, at least {1 - PROGRESS:.0%}"
                )
                yield Check(text, cost.ratio >= 1 - PROGRESS)
        if cost := ours.costs.get("livelock"):
            off = cost.ratio - 1
            text = f"{name}: EINTR rate of the livelock {off:+.2%}, at most {EINTR:.0%} either way"
            yield Check(text, abs(off) <= EINTR)
            yield Check(f"{name}: the livelock stays one ({cost.loops:,} loops)", not cost.loops)
            for row, other in _peers(outcome, "livelock", ("traps",)):
                text = f"{name}: moves the EINTR rate less than {row.observer.name} ({other.ratio - 1:+.2%})"
                yield Check(text, abs(off) <= abs(other.ratio - 1) + _SAME)
        if cost := ours.costs.get("survivor"):
            yield Check(f"{name}: the survivor makes progress ({cost.ratio:.1%})", cost.loops > 0)


def _counts(outcome: Outcome) -> Iterator[Check]:
    for ours in (row for row in outcome.rows if row.observer.ours and row.observer.job == "times"):
        for guest, limit in COUNTS.items():
            name, cost = ours.observer.name, ours.costs.get(guest)
            if not cost or cost.added is None:
                continue
            added = f"{cost.added:,.0f} instructions added to an exit-entry pair of {guest}"
            text = f"{name}: {added}, at most {limit:,}"
            yield Check(text, cost.added <= limit)
            for row, other in _peers(outcome, guest, ("times", "counts", "events")):
                if other.added is not None:
                    text = f"{name}: adds less to {guest} than {row.observer.name} ({other.added:,.0f})"
                    yield Check(text, cost.added < other.added)


def _peers(outcome: Outcome, guest: str, jobs: tuple[str, ...]) -> Iterator[tuple[Row, Cost]]:
    for row in outcome.rows:
        if not row.observer.ours and row.observer.job in jobs and (cost := row.costs.get(guest)):
            yield row, cost
