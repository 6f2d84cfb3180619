"""What cannot be seen on the recorded host, and so limits every verdict."""

from collections.abc import Iterator

from sldtrace.dataset import accounts, folding, subject
from sldtrace.dataset.trace import Trace
from sldtrace.prediction import recorded_penalty
from sldtrace.recording import schema
from sldtrace.text.escape import escape
from sldtrace.text.phrases import plural

_MOST_NAMED = 16


def sentences(trace: Trace) -> list[str]:
    """One sentence for each limitation."""
    return list(_limits(trace))


def _limits(trace: Trace) -> Iterator[str]:
    penalty = recorded_penalty.penalty(trace)
    mode = penalty.mode
    if trace.text("cpu", "vendor") == "AuthenticAMD":
        # 408eb7417a92: bus_lock_detect, a #DB after the instruction; AMD has no #AC for split locks.
        yield (
            "AMD's CPUs do not trap split locks: bus locks of programs are logged by the kernel (6.13 and "
            "later), and the mode warn has no penalty for them."
        )
    elif mode in ("off", "unsupported"):
        yield f"split_lock_detect={mode}: split locks do not trap on this host, so there is no penalty."
    elif mode.startswith("ratelimit"):
        yield (
            f"split_lock_detect={escape(mode)}: split locks of guests do not trap; #DB slows programs with "
            "bus locks."
        )
    elif mode == "fatal":
        yield "split_lock_detect=fatal: split locks of programs end in SIGBUS and are not recorded."
    elif not penalty.generation.sleeps:
        yield "Before Linux 5.19 there is no penalty: a task traps once each time it is switched in."
    if replaced := accounts.replaced(trace):
        yield (
            f"{escape(replaced, 200)}: what the patch does is not known, so sleeps and waits may be missing, "
            "and thresholds, predictions and causes may be wrong."
        )
    if penalty.shared_reenable and penalty.mitigate == 0 and penalty.traps:
        # Fixed in 6.15 by c929d08df8be, 0e1ff67d164b.
        yield (
            "From Linux 6.2 to 6.14, with kernel.split_lock_mitigate=0, numbers of traps are too low: of "
            "CPUs that trap at the same time, only one gets detection back."
        )
    if left_out := folding.fold(trace).left_out:
        yield (
            "There are more threads, addresses or loops than the analysis keeps: "
            f"{plural(left_out, 'time')} there was no room, and numbers are too low."
        )
    if without_room := _without_room(trace):
        named = [subject.thread(trace.subject(tgid, tid, None)) for tgid, tid in without_room[:_MOST_NAMED]]
        more = len(without_room) - len(named)
        yield (
            f"{plural(len(without_room), 'thread')} could not be followed, because the probes had no room "
            f"for more: {', '.join(named)}{f' and {more:,} more' if more else ''}."
        )
    filters = trace.facts.get("filters")
    if isinstance(filters, dict):
        chosen = [name for name, value in filters.items() if value not in (None, [], {}, "")]
        if chosen:
            names = escape(", ".join(map(str, chosen)), 200)
            yield f"Only a part of the host was recorded (filters: {names})."


# TGID and TID of each thread of which a record is missing because the probes' table was full.
def _without_room(trace: Trace) -> list[tuple[int, int]]:
    recording = trace.recording
    if not any(loss.cause == "table_full" for loss in recording.losses):
        return []
    lost = recording.records("lost")
    full = schema.current().enums["lost_cause"].values["TABLE_FULL"]
    chosen = lost[(lost["cause"] == full) & (lost["tid"] != 0)]
    return sorted(set(zip(chosen["tgid"].tolist(), chosen["tid"].tolist(), strict=True)))
