"""What a thread in a loop did all the same: guest time, other addresses and exits, other cores."""

from typing import Any

import numpy as np

from sldtrace.analyzers import chains, cores, windows
from sldtrace.analyzers.finding import Confidence, Fact
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import Penalty
from sldtrace.text.phrases import length, percent, plural


def numbers(trace: Trace, rows: Rows, same: Rows) -> dict[str, Any]:
    """rows: the traps in loops; same: all of the thread from the first to the last of them.

    detection_off: traps after which detection was off; exits, guest_ns: between the traps of each loop, as
    far as watched_traps covers them; unwatched_traps: in loops, where MSR_TEST_CTRL was not watched;
    watched_ns: how long the loops lasted where it was; missed_returns: in loops, where the sleep's result
    was not seen; exit_records: VM exits in loops that were recorded one by one, other_exits: those not by
    #AC, other_addresses: at how many other guest addresses; elsewhere: stays on other cores where detection
    was off meanwhile. None: not watched.
    """
    # The first trap of a chain is counted from before the chain, so its guest time is not part of it.
    watched = rows[chains.as_before(rows["chain"]) & rows["exits_watched"]]
    _, starts, ends = chains.spans(rows[rows["msr_watched"]])
    return {
        "detection_off": int(same["detection_off"].sum()),
        "exits": int(watched["exits"].sum()) if len(watched) else None,
        "guest_ns": int(watched["guest_ns"].sum()) if len(watched) else None,
        "watched_traps": len(watched),
        "unwatched_traps": int((~rows["msr_watched"]).sum()),
        "watched_ns": int((ends - starts).sum()),
        "missed_returns": int(rows["return_missed"].sum()),
        **_exits(trace, rows),
        "elsewhere": _elsewhere(trace, rows),
    }


def _exits(trace: Trace, rows: Rows) -> dict[str, Any]:
    starts, ends = (np.sort(each) for each in chains.spans(rows)[1:])
    mine = trace.rows("exit").thread(int(rows["tgid"].iloc[0]), int(rows["tid"].iloc[0]))
    place = np.searchsorted(starts, mine["ns"].to_numpy(), "right") - 1
    mine = mine[(place >= 0) & (mine["ns"].to_numpy() <= ends[np.maximum(place, 0)])]
    if mine.empty:
        return {"exit_records": 0, "other_exits": None, "other_addresses": None}
    elsewhere = mine["rip"] != rows["rip"].iloc[0]
    return {
        "exit_records": len(mine),
        "other_exits": int((~mine["split_lock"]).sum()),
        "other_addresses": int(mine["rip"][elsewhere].nunique()),
    }


# A thread that was moved to a core with detection off, and back before it trapped again, may have got on
# there.
def _elsewhere(trace: Trace, rows: Rows) -> int:
    moves = trace.rows("migrate").tid(int(rows["tid"].iloc[0]))
    start, end = rows["start_ns"].min(), rows["end_ns"].max()
    mine = moves[moves["ns"].between(start, end)]
    if mine.empty:
        return 0
    core = cores.of(mine["to_cpu"], trace.core)
    since = mine["ns"].to_numpy()
    until = np.concatenate([since[1:], [end]])[: len(since)]
    # Whether it ran there, or slept in the kernel all the time, its next trap tells: asleep it cannot get
    # on.
    enters, exits = rows["start_ns"].to_numpy(), rows["end_ns"].to_numpy()
    trap = np.searchsorted(enters, since, "right") - 1
    asleep = (trap >= 0) & (exits[np.maximum(trap, 0)] >= until)
    return int((windows.overlapping(windows.off(trace), core, since, until) & ~asleep).sum())


def confidence(trace: Trace, penalty: Penalty, n: dict[str, Any]) -> tuple[Confidence, str]:
    """How sure it is that the instruction was not executed in the loops, and why."""
    lost = sum(loss.count for loss in trace.recording.losses if loss.kind == "trap")
    if lost:
        return Confidence.POSSIBLE, f"{plural(lost, 'trap')} of the recording were lost"
    if n["elsewhere"]:
        return (
            Confidence.POSSIBLE,
            f"it was moved {plural(n['elsewhere'], 'time')} to a core on which detection was off for a "
            "moment",
        )
    if n["missed_returns"]:
        return Confidence.LIKELY, f"of {plural(n['missed_returns'], 'trap')} the result was not seen"
    if n["unwatched_traps"] and rule.is_livelock(
        1, n["watched_ns"], n["early_returns"] - n["unwatched_traps"], penalty
    ):
        # The probe of MSR writes is attached by the first trap: it needs a moment.
        watched = f"{length(n['watched_ns'])} of {length(n['in_loops_ns'])}"
        return (
            Confidence.CERTAIN,
            f"each early return was seen; detection was watched for {watched}: it stayed on",
        )
    if n["unwatched_traps"]:
        return (
            Confidence.LIKELY,
            f"in {plural(n['unwatched_traps'], 'trap')} it was not watched whether others switched "
            "detection off",
        )
    return Confidence.CERTAIN, "each early return was seen, and that detection stayed on"


def fact(n: dict[str, Any]) -> Fact:
    """In words."""
    parts = [f"detection was switched off for it {plural(n['detection_off'], 'time')}"]
    if n["guest_ns"] is None:
        parts.append("what the guest did in between was not recorded")
    else:
        parts.append(
            f"{length(n['guest_ns'])} in the guest ({percent(n['guest_ns'], n['in_loops_ns'])}) and "
            f"{plural(n['exits'], 'VM exit')} over {plural(n['watched_traps'], 'trap')}"
        )
    if n["exit_records"]:
        parts.append(
            f"{plural(n['other_exits'], 'exit')} other than the traps, "
            f"{plural(n['other_addresses'], 'other address', 'other addresses')}"
        )
    names = (
        "detection_off",
        "exits",
        "guest_ns",
        "watched_traps",
        "exit_records",
        "other_exits",
        "other_addresses",
    )
    text = f"{'some' if n['detection_off'] else 'none'}: {', '.join(parts)}"
    if n["other_addresses"]:
        text += ": other code of the guest runs"
    return Fact("progress", text, {name: n[name] for name in (*names, "elsewhere")})
