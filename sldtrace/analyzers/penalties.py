"""What findings say about the penalty of the recorded kernel, in one place."""

from sldtrace.analyzers import thresholds
from sldtrace.dataset.trace import Trace
from sldtrace.model.penalty import Penalty
from sldtrace.text.phrases import ms


def explained(penalty: Penalty) -> str:
    """What the kernel does, as the first sentence of a cause."""
    return (
        "The kernel's penalty for a split lock is a sleep of "
        f"{ms(penalty.shortest_sleep_ns)} to {ms(penalty.longest_sleep_ns)} ms; then the thread continues."
    )


def assumption(penalty: Penalty) -> str:
    """What a cause adds where the length of the sleep is a guess; empty elsewhere."""
    return (
        "" if penalty.known else " (The length of the sleep is assumed: the kernel's version is not known.)"
    )


def window(penalty: Penalty) -> str:
    """How long detection is off after a penalty: `8 to 12 ms`."""
    return f"{ms(penalty.window_ns)} to {ms(penalty.window_ns + penalty.tick_ns)} ms"


def tense(ongoing: bool, present: str, past: str) -> str:
    """The verb of a finding: `present` for what had not ended when the recording did."""
    return present if ongoing else past


def is_ongoing(trace: Trace, penalty: Penalty, end_ns: int) -> bool:
    """Is what ended at that time so near the end of the recording that it may have continued?

    In less time than a penalty takes, no trap shows that it ended.
    """
    limit = thresholds.ONGOING_PENALTIES.value * penalty.longest_sleep_ns
    return trace.span_ns[1] - end_ns < limit
