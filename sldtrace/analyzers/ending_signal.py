"""The signals that end the penalties of a thread: number, sender, period, and the period that would not.

From the records of signals where there are any, which have those that ended no sleep as well; else from the
signals that the traps name.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sldtrace.analyzers import thresholds
from sldtrace.analyzers.endings import EndedBy
from sldtrace.analyzers.finding import Fact
from sldtrace.dataset.trace import Trace
from sldtrace.engine.loop_details import Details, LoopDetails
from sldtrace.engine.slices import in_order
from sldtrace.engine.traps import TrapColumns
from sldtrace.host import signals
from sldtrace.host.signals import Code
from sldtrace.model import threshold
from sldtrace.model.penalty import Penalty
from sldtrace.model.sources import Kind
from sldtrace.prediction import thread_profile
from sldtrace.text.phrases import length

_SETITIMER = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)
_MADE_BY = {
    Code.SI_TIMER: "timer_create",
    Code.SI_USER: "kill",
    Code.SI_QUEUE: "sigqueue",
    Code.SI_TKILL: "tgkill",
}


@dataclass(frozen=True)
class SignalNumbers:
    """A signal that ended early returns, in some traps of one thread."""

    number: int
    code: int  # si_code
    to_process: bool  # not to the thread
    sender_tgid: int  # 0: sent by the kernel
    sender_tid: int
    made_by: str  # timer_create, setitimer, kill, sigqueue, tgkill or kernel
    ended: int  # sleeps that it ended
    records: int  # signal records of it in the same time
    period_ns: int | None  # median; None: not known
    period_spread_ns: int | None  # distance of the quartiles; None: not known


def find_signals(
    every: LoopDetails, details: Details, ended_by: tuple[EndedBy, ...]
) -> tuple[SignalNumbers, ...]:
    """The signals of `ended_by` that keep the thread in its loops, each with the sender that ended most.

    details: those of the loops, of `every`.
    """
    least = thresholds.ENDING_SHARE.value * sum(each.ended for each in ended_by)
    large = [each for each in ended_by if each is ended_by[0] or each.ended >= least]
    return tuple(_numbers(every, details, each.signal) for each in large if each.signal is not None)


def _numbers(every: LoopDetails, details: Details, number: int) -> SignalNumbers:
    seen = [(key, signal) for key, signal in details.signals.items() if signal.ended and key[0] == number]
    # Of equally many, the first one.
    key, most = max(seen, key=lambda each: (each[1].ended, -each[1].first_ns))
    _, code, sender_tgid, sender_tid, to_process = key
    quartiles = every.quartiles(most)
    return SignalNumbers(
        number=number,
        code=code,
        to_process=to_process,
        sender_tgid=sender_tgid,
        sender_tid=sender_tid,
        made_by=_made_by(number, code),
        ended=most.ended,
        records=most.records,
        period_ns=int(quartiles[1]) if quartiles is not None else None,
        period_spread_ns=int(quartiles[2] - quartiles[0]) if quartiles is not None else None,
    )


def _made_by(number: int, code: int) -> str:
    if code == Code.SI_KERNEL and number in _SETITIMER:
        return "setitimer"
    return _MADE_BY[Code(code)] if code in set(Code) and Code(code) in _MADE_BY else "kernel"


def least_period_ns(penalty: Penalty, details: Details) -> int:
    """The shortest period with which this thread completes every penalty on this kernel.

    By the model, which includes the time from a signal to the next trap, and the jitter of the signals; these
    are measured in the first traps and signals (engine.loop_details.SAMPLE).
    """
    traps = TrapColumns(in_order("trap", details.traps))
    found = thread_profile.profile(traps, in_order("signal", details.sent))
    source = replace(found.source, kind=Kind.REARMED) if found.source.kind is Kind.NONE else found.source
    return threshold.least_period_ns(penalty, source, found.costs)


def facts(trace: Trace, found: Sequence[SignalNumbers], early_returns: int) -> list[Fact]:
    """In words: what makes each signal, who sends it, and how often it comes."""
    return [_fact(trace, each, early_returns) for each in found]


def _fact(trace: Trace, found: SignalNumbers, early_returns: int) -> Fact:
    name = f"{signals.name(found.number)} to the {'process' if found.to_process else 'thread'}"
    source = signals.source(found.number, found.code) + _sender(trace, found)
    made = f", {signals.code_name(found.code)}: {source}"
    often = ""
    if found.period_ns is not None and found.period_spread_ns is not None:
        often = f", every {length(found.period_ns)} (quartiles {length(found.period_spread_ns)} apart)"
    share = "" if found.ended == early_returns else f"; it ended {found.ended:,} of the sleeps"
    return Fact("signal", name + made + often + share)


def sentence(trace: Trace, found: Sequence[SignalNumbers], verb: str, alone: bool) -> str:
    """Where the signals come from, with a blank before it; empty without one.

    verb: `is` or `was`; alone: there is nothing else that ended early returns.
    """
    text = ""
    for each in found:
        source = "Its source" if alone else f"The source of {signals.name(each.number)}"
        often = f", every {length(each.period_ns)}" if each.period_ns is not None else ""
        text += f" {source} {verb} {signals.source(each.number, each.code)}{_sender(trace, each)}{often}."
    return text


def _sender(trace: Trace, found: SignalNumbers) -> str:
    if not found.sender_tid:
        return ""
    thread = trace.subject(found.sender_tgid, found.sender_tid, None).thread
    return f", sent by PID {found.sender_tgid}, TID {found.sender_tid}{f' ({thread})' if thread else ''}"
