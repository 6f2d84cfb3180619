"""What each mode of split_lock_detect= would do to each recorded VM and program, before it is chosen."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sldtrace.dataset import exit_counts, folding
from sldtrace.dataset.trace import Trace
from sldtrace.errors import UsageError
from sldtrace.host.exits import had_bus_lock, is_bus_lock
from sldtrace.model.sources import Source
from sldtrace.model.thread import Costs
from sldtrace.prediction import predict, recorded_penalty
from sldtrace.prediction import thread_profile as profiles
from sldtrace.prediction.predict import Prediction, WhatIf
from sldtrace.prediction.thread_profile import Profile

LIMIT = 10
"""Of ratelimit:N where nothing else is said."""

_FORM = re.compile(r"modes(?:=ratelimit:(\d{1,4}))?")
_MOST = 256  # threads with bus locks that are simulated, those with the most of them


@dataclass(frozen=True)
class Outlook:
    """What was recorded of a VM or a program, and what the modes would do to it.

    traps_per_s: #AC, bus_locks_per_s: #DB or VM exits, of the recording's time. warn, of
    kernel.split_lock_mitigate=1: `trapping`: does #AC trap then; livelocked, chance: threads that would make
    no progress, or only by chance; penalty_share: of the recording's time, the mean of its threads. fatal:
    would SIGBUS kill it. asleep: with ratelimit:N, share of its time, None: N does not apply to it.
    """

    tgid: int
    guest: bool
    threads: int
    traps_per_s: float
    bus_locks_per_s: float
    trapping: bool
    livelocked: int
    chance: int
    penalty_share: float
    fatal: bool
    asleep: float | None


@dataclass(frozen=True)
class Audit:
    """limit: N of ratelimit:N."""

    limit: int
    outlooks: Sequence[Outlook]


@dataclass(frozen=True)
class _Locking:
    """A thread with bus locks; wanted_per_s: how many it would have if it were never held up by them."""

    tgid: int
    tid: int
    vcpu: int | None
    guest: bool
    count: int
    wanted_per_s: float


def parse(text: str) -> int | None:
    """N of `modes` or `modes=ratelimit:N`; None: it is another change. Raises UsageError."""
    if not text.startswith("modes"):
        return None
    found = _FORM.fullmatch(text)
    limit = int(found[1] or LIMIT) if found else 0
    if not 1 <= limit <= 1000:
        raise UsageError(
            f"'{text}' is no change that can be predicted",
            "there are modes and modes=ratelimit:N, N from 1 to 1000",
        )
    return limit


def run(trace: Trace, limit: int) -> Audit:
    """The VMs and programs, those with the most traps and bus locks first."""
    facts = trace.facts.get("split_lock")
    facts = facts if isinstance(facts, dict) else {}
    # Where a trap was recorded, the CPU has #AC, whatever the facts say.
    by_ac = bool(facts.get("detects_split_locks", True)) or bool(trace.recording.counts.get("trap"))
    by_db = bool(facts.get("detects_bus_locks", False))
    locking = list(_locking(trace))
    warned = _warned(trace, locking) if by_ac else []
    seconds = max(trace.span_ns[1] - trace.span_ns[0], 1) / 1e9
    owners: dict[tuple[int, bool], tuple[list[Prediction], list[_Locking]]] = {}
    for each in warned:
        owners.setdefault((each.profile.tgid, each.profile.guest), ([], []))[0].append(each)
    for one in locking:
        owners.setdefault((one.tgid, one.guest), ([], []))[1].append(one)
    held = asleep_share(
        sum(_demand(*each, seconds) for (_, guest), each in owners.items() if not guest), limit
    )
    found = []
    for (tgid, guest), (predicted, locks) in owners.items():
        shares = [_share(each, seconds) for each in predicted]
        found.append(
            Outlook(
                tgid,
                guest,
                len({(each.profile.tid) for each in predicted} | {one.tid for one in locks}),
                sum(each.profile.traps for each in predicted) / seconds,
                sum(one.count for one in locks) / seconds,
                bool(predicted),
                sum(each.progress == "no" for each in predicted),
                sum(each.progress == "chance" for each in predicted),
                float(np.mean(shares)) if shares else 0.0,
                bool(predicted) or (by_db and not guest),
                held if by_db and not guest else None,
            )
        )
    return Audit(limit, sorted(found, key=lambda one: -(one.traps_per_s + one.bus_locks_per_s)))


# Of the recording's time, as the traps a second are: who trapped once is not penalized all the time.
def _share(one: Prediction, seconds: float) -> float:
    trapped_for = one.profile.span_ns / 1e9 if one.profile.traps else seconds
    return one.penalty_share * min(trapped_for / seconds, 1.0)


def asleep_share(wanted_per_s: float, limit: int) -> float:
    """Share of the time that a program sleeps in `while (!__ratelimit(&bld_ratelimit)) msleep(20)`.

    wanted_per_s: bus locks a second of all programs of the host while none of them sleeps. Of each second
    they run until `limit` bus locks have been executed (include/linux/ratelimit.h: interval HZ, burst N).
    """
    return max(0.0, 1 - limit / wanted_per_s) if wanted_per_s else 0.0


def _demand(predicted: Sequence[Prediction], locks: Sequence[_Locking], seconds: float) -> float:
    # Of a program that trapped more split locks were executed, in the windows without detection.
    known = {one.tid for one in locks}
    traps = sum(each.profile.traps for each in predicted if each.profile.tid not in known)
    return sum(one.wanted_per_s for one in locks) + traps / seconds


# What the mode warn does to those that trapped and to those that only had bus locks, all at the same time.
def _warned(trace: Trace, locking: Sequence[_Locking]) -> list[Prediction]:
    trapped = {(each.tgid, each.tid) for each in profiles.profile_threads(trace)}
    more = sorted((one for one in locking if (one.tgid, one.tid) not in trapped), key=lambda one: -one.count)
    first = 1 << 16  # each on a CPU of its own
    added = [_profile(one, first + number) for number, one in enumerate(more[:_MOST])]
    switchable = recorded_penalty.penalty(trace).generation.switchable
    return predict.run(trace, WhatIf(mode="warn", mitigate=1 if switchable else None), added)


def _profile(one: _Locking, cpu: int) -> Profile:
    spacing = int(1e9 / one.wanted_per_s)
    return Profile(
        tgid=one.tgid,
        tid=one.tid,
        vcpu=one.vcpu,
        guest=one.guest,
        span_ns=0,
        traps=0,
        early_returns=0,
        detection_off=0,
        penalty_share=0.0,
        source=Source(),
        signals_used=0,
        costs=Costs(spacing_ns=max(Costs().spacing_ns, spacing)),
        cpu=cpu,
        moves=0,
    )


def _locking(trace: Trace) -> Iterator[_Locking]:
    folded = folding.fold(trace)
    rows = folded.bus_locks.rows
    for tgid, tid in np.unique(rows[["tgid", "tid"]]).tolist():
        mine = rows[(rows["tgid"] == tgid) & (rows["tid"] == tid)]
        counted = int(mine["ns"].max() - mine["since_ns"].min())
        count = int(mine["count"].sum())
        if count:
            free = max(counted - int(mine["handler_ns"].sum()), 1)
            yield _Locking(tgid, tid, None, False, count, count * 1e9 / free)
    exits = folded.counts.rows
    chosen = exit_counts.chosen(
        trace.recording, exits, lambda isa, reason, _: is_bus_lock(isa, reason) or had_bus_lock(isa, reason)
    )
    vcpus: dict[tuple[int, int], list[int]] = {}
    for row in exit_counts.plain(trace.recording, exits[chosen]):
        sums = vcpus.setdefault((int(row["tgid"]), int(row["tid"])), [-1, 0, 0, 1])
        sums[0] = -1 if row["vcpu"] is None else int(row["vcpu"])
        sums[1] += int(row["count"])
        sums[2] += int(row["host_ns"])
        sums[3] = max(sums[3], int(row["ns"]) - int(row["since_ns"]))
    for (tgid, tid), (vcpu, count, outside, counted) in vcpus.items():
        if count:
            wanted = count * 1e9 / max(counted - outside, 1)
            yield _Locking(tgid, tid, vcpu if vcpu >= 0 else None, True, count, wanted)
