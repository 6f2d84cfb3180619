"""The VM exits of the threads of interest: for which reasons, how often, and how long the host took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sldtrace.dataset import levels, tallies
from sldtrace.dataset.trace import Trace
from sldtrace.lazy import pd
from sldtrace.reporters import wording
from sldtrace.reporters.document import AtLeast, Block, Cell, Column, Section, Table, Text, Unit
from sldtrace.text.escape import escape

_THREADS = 3  # at most so many
_REASONS = 5  # of each
_NAME_WIDTH = 19  # characters of a reason
_COLUMNS = (
    Column("reason"),
    Column("count", Unit.COUNT),
    Column("share", Unit.SHARE),
    Column("in guest", Unit.DURATION),
    Column("on host", Unit.DURATION),
    Column("p50 <", Unit.BELOW),
    Column("p99 <", Unit.BELOW),
)


def sections(trace: Trace, threads: pd.DataFrame) -> Iterator[Section]:
    """One section, or none where no exits were counted. `threads` as analyzers.threads.summarize gives it."""
    if len(trace.exit_counts):
        yield Section(f"VM exits{_watched(trace)}", list(_blocks(trace, threads)))


def _blocks(trace: Trace, threads: pd.DataFrame) -> Iterator[Block]:
    returns = tallies.user_exits(trace)
    shown = _of_interest(trace.exit_counts, threads)
    for tgid, tid in shown[:_THREADS]:
        counts = trace.exit_counts
        yield from _thread(trace, counts[(counts["tgid"] == tgid) & (counts["tid"] == tid)], returns)
    if len(shown) > _THREADS:
        yield Text(f"and {wording.plural(len(shown) - _THREADS, 'more thread')}: see --format json")
    yield Text(
        "p50 <, p99 <: half of the exits, and 99 % of them, took the host less than this time until the next"
        " entry. The exact value is between half of it and the whole."
    )


# Since when, where it was not all the time.
def _watched(trace: Trace) -> str:
    times = levels.watched(trace)
    start, end = trace.span_ns
    if not times or times == [(start, end)]:
        return ""
    if len(times) == 1 and times[0][1] == end:
        return f", watched from {wording.moment(trace, times[0][0], date=False)} on"
    total = wording.length(sum(until - since for since, until in times))
    return f", watched for {total} of {wording.length(end - start)} (see below)"


# Those that trapped, most traps first, and then the others, most exits first.
def _of_interest(counts: pd.DataFrame, threads: pd.DataFrame) -> list[tuple[int, int]]:
    totals = counts.groupby(["tgid", "tid"], sort=False)["count"].sum().sort_values(ascending=False)
    counted = [(int(tgid), int(tid)) for tgid, tid in totals.index]
    known = set(counted)
    trapped = zip(threads["tgid"].tolist(), threads["tid"].tolist(), strict=True)
    return list(dict.fromkeys([*(who for who in trapped if who in known), *counted]))


def _thread(trace: Trace, counts: pd.DataFrame, returns: pd.DataFrame) -> Iterator[Block]:
    first = counts.iloc[0]
    vcpu = int(first["vcpu"])
    who = trace.subject(int(first["tgid"]), int(first["tid"]), vcpu if vcpu >= 0 else None)
    total, guest_ns = int(counts["count"].sum()), int(counts["guest_ns"].sum())
    vcpu_name = "a thread" if who.vcpu is None else f"vCPU {who.vcpu}"
    yield Text(
        f"{vcpu_name} of {wording.thread(who)}: {wording.plural(total, 'exit')},"
        f" {wording.length(guest_ns)} in the guest"
    )
    yield Table(_COLUMNS, tuple(_row(row, total) for row in counts.head(_REASONS).to_dict("records")))
    rest = counts.iloc[_REASONS:]
    if len(rest):
        exits = wording.plural(int(rest["count"].sum()), "exit")
        yield Text(f"and {wording.plural(len(rest), 'more reason')}: {exits}")
    mine = returns[(returns["tgid"] == who.tgid) & (returns["tid"] == who.tid)].head(_REASONS)
    if len(mine):
        listed = ", ".join(f"{row['name']} {row['count']:,}" for row in mine.to_dict("records"))
        yield Text(f"returns to the VMM that were recorded: {listed}")


def _row(row: dict[Any, Any], total: int) -> tuple[Cell, ...]:
    return (
        escape(str(row["name"]), _NAME_WIDTH),
        int(row["count"]),
        int(row["count"]) / max(total, 1),
        int(row["guest_ns"]),
        int(row["host_ns"]),
        _below(row["p50_high_ns"], row["p50_low_ns"]),
        _below(row["p99_high_ns"], row["p99_low_ns"]),
    )


def _below(high: Any, low: Any) -> Cell:
    if pd.isna(high):
        return None if pd.isna(low) else AtLeast(int(low))
    return int(high)
