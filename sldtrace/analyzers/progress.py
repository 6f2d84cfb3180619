"""Signs of progress of a thread in a loop: guest time, other addresses and exits, other cores."""

from dataclasses import dataclass

from sldtrace.analyzers import lost_records
from sldtrace.analyzers.finding import Confidence, Fact
from sldtrace.dataset.trace import Trace
from sldtrace.engine.loop_details import Details
from sldtrace.engine.loops import Loop
from sldtrace.model import early_returns as rule
from sldtrace.model.penalty import Penalty
from sldtrace.text.phrases import length, percent, plural


@dataclass(frozen=True)
class ProgressNumbers:
    """What a thread did between the traps of its loops. None: not watched."""

    detection_off: int  # traps after which detection was off, from the first loop to the last
    exits: int | None  # VM exits between the traps of each loop, as far as watched_traps covers them
    guest_ns: int | None  # guest time, likewise
    watched_traps: int  # traps for which VM exits were watched since the trap before
    unwatched_traps: int  # traps in loops where MSR_TEST_CTRL was not watched
    watched_ns: int  # time in loops where it was
    missed_returns: int  # traps in loops where the result of the sleep was not seen
    exit_records: int  # VM exits in loops that were recorded one by one
    other_exits: int | None  # of exit_records, those not by #AC
    other_addresses: int | None  # of exit_records, how many guest addresses besides that of the loop
    elsewhere: int  # stays on other cores while detection was off there


def measure(loop: Loop, details: Details) -> ProgressNumbers:
    """Of these loops."""
    return ProgressNumbers(
        detection_off=loop.detection_off,
        exits=loop.exits if loop.watched_traps else None,
        guest_ns=loop.guest_ns if loop.watched_traps else None,
        watched_traps=loop.watched_traps,
        unwatched_traps=loop.unwatched_traps,
        watched_ns=loop.watched_ns,
        missed_returns=loop.missed_returns,
        exit_records=details.exits,
        other_exits=details.other_exits if details.exits else None,
        other_addresses=details.addresses if details.exits else None,
        elsewhere=details.elsewhere,
    )


def confidence(trace: Trace, penalty: Penalty, found: ProgressNumbers, loop: Loop) -> tuple[Confidence, str]:
    """How sure it is that the instruction was not executed in the loops, and why."""
    early_returns, in_loops_ns = loop.early_returns, loop.in_loops_ns
    lost = lost_records.count(trace, "trap", loop.start_ns, loop.end_ns, loop.tid)
    if lost:
        return Confidence.POSSIBLE, f"{plural(lost, 'trap')} may be missing: they were lost in this time"
    if found.elsewhere:
        return (
            Confidence.POSSIBLE,
            f"it was moved {plural(found.elsewhere, 'time')} to a core on which detection was off for a "
            "moment",
        )
    if found.missed_returns:
        return Confidence.LIKELY, f"of {plural(found.missed_returns, 'trap')} the result was not seen"
    if found.unwatched_traps and rule.is_livelock(
        1, found.watched_ns, early_returns - found.unwatched_traps, penalty
    ):
        # The probe of MSR writes is attached by the first trap: it needs a moment.
        watched = f"{length(found.watched_ns)} of {length(in_loops_ns)}"
        return (
            Confidence.CERTAIN,
            f"each early return was seen; detection was watched for {watched}: it stayed on",
        )
    if found.unwatched_traps:
        return (
            Confidence.LIKELY,
            f"in {plural(found.unwatched_traps, 'trap')} it was not watched whether others switched "
            "detection off",
        )
    return Confidence.CERTAIN, "each early return was seen, and that detection stayed on"


def fact(found: ProgressNumbers, in_loops_ns: int, guest: bool, loops: int) -> Fact:
    """In words; guest: a vCPU, which has VM exits; loops: how many there are, with what is between them."""
    parts = [f"detection was switched off for it {plural(found.detection_off, 'time')}"]
    if not guest:
        pass
    elif found.guest_ns is None or found.exits is None:
        parts.append("what the guest did in between was not recorded")
    else:
        parts.append(
            f"{length(found.guest_ns)} in the guest ({percent(found.guest_ns, in_loops_ns)}) and "
            f"{plural(found.exits, 'VM exit')} over {plural(found.watched_traps, 'trap')}"
        )
    if found.other_exits is not None and found.other_addresses is not None:
        parts.append(
            f"{plural(found.other_exits, 'exit')} other than the traps, "
            f"{plural(found.other_addresses, 'other address', 'other addresses')}"
        )
    amount = "some" if found.detection_off else "none" if loops == 1 else "none in the loops"
    text = f"{amount}: {', '.join(parts)}"
    if found.other_addresses:
        text += ": other code of the guest runs"
    return Fact("progress", text)
