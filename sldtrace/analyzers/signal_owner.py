"""Whose signals end the penalties of a thread: number, maker, sender, period, and what period would do.

From the records of signals where there are any, which have those that ended no sleep as well; else from the
signals that the traps name.
"""

import signal
from dataclasses import replace
from typing import Any

import numpy as np

from sldtrace.analyzers.finding import Fact
from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Trace
from sldtrace.host import signals
from sldtrace.host.signals import Code
from sldtrace.model import threshold
from sldtrace.model.penalty import Penalty
from sldtrace.model.sources import Kind
from sldtrace.prediction import thread_profile
from sldtrace.text.phrases import length

_WHAT = ["signal", "signal_code", "sender_tgid", "sender_tid", "signal_group"]
_RECORDED = ["signal", "signal_code", "sender_tgid", "sender_tid"]
_SETITIMER = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)
_MADE_BY = {
    Code.SI_TIMER: "timer_create",
    Code.SI_USER: "kill",
    Code.SI_QUEUE: "sigqueue",
    Code.SI_TKILL: "tgkill",
}


def numbers(trace: Trace, penalty: Penalty, same: Rows) -> dict[str, Any]:
    """Of the signal that ended most of the early returns in these traps of one thread.

    signal, signal_code, sender_tgid, sender_tid, signal_group: as in the trap record; signal_made_by:
    timer_create, setitimer, kill, sigqueue, tgkill or kernel; signal_seen: sleeps that it ended;
    signal_records: records of it meanwhile; period_ns, period_spread_ns: median and distance of the
    quartiles; least_period_ns: the shortest with which this thread would get through every time, on this
    kernel. None: not known.
    """
    seen = same[same["signal"] > 0]
    if seen.empty:
        unknown = [*_WHAT, "signal_made_by", "period_ns", "period_spread_ns", "least_period_ns"]
        return dict.fromkeys(unknown) | {"signal_seen": 0, "signal_records": 0}
    ranked = seen.counted(*_WHAT)
    most = {name: int(ranked[name].iloc[0]) for name in _WHAT}
    matching = np.ones(len(same), bool)
    for name in _WHAT:
        matching &= (same[name] == most[name]).to_numpy()
    records = _records(trace, same, most)
    gaps = np.diff(records["ns"].to_numpy())
    if not len(gaps):
        gaps = np.diff(same["signal_ns"].to_numpy())[matching[1:] & matching[:-1]]
    quartiles = np.quantile(gaps, [0.25, 0.5, 0.75]) if len(gaps) else None
    del gaps  # there may be millions
    return {
        **most,
        "signal_made_by": _made_by(most["signal"], most["signal_code"]),
        "signal_seen": int(matching.sum()),
        "signal_records": len(records),
        "period_ns": int(quartiles[1]) if quartiles is not None else None,
        "period_spread_ns": int(quartiles[2] - quartiles[0]) if quartiles is not None else None,
        "least_period_ns": _least_period(trace, penalty, same) if quartiles is not None else None,
    }


# The records of that signal to this thread, from the first of these traps to the last.
def _records(trace: Trace, same: Rows, most: dict[str, int]) -> Rows:
    tgid, tid = (int(same[name].iloc[0]) for name in ("tgid", "tid"))
    rows = trace.rows("signal").thread(tgid, 0) if most["signal_group"] else trace.rows("signal").tid(tid)
    mine = rows["ns"].between(same["start_ns"].min(), same["end_ns"].max())
    for name, wanted in zip(_RECORDED, _WHAT, strict=False):
        mine &= rows[name] == most[wanted]
    return rows[mine]


def _made_by(number: int, code: int) -> str:
    if code == Code.SI_KERNEL and number in _SETITIMER:
        return "setitimer"
    return _MADE_BY[Code(code)] if code in set(Code) and Code(code) in _MADE_BY else "kernel"


# As the model sees it: from the trap to the signal some of the period has passed already, and signals
# jitter.
def _least_period(trace: Trace, penalty: Penalty, same: Rows) -> int:
    found = thread_profile.of_thread(trace, same)
    source = replace(found.source, kind=Kind.REARMED) if found.source.kind is Kind.NONE else found.source
    return threshold.least_period_ns(penalty, source, found.costs)


def fact(trace: Trace, n: dict[str, Any]) -> Fact:
    """In words: who makes the signal, and how often it comes."""
    values = {name: n[name] for name in (*_WHAT, "signal_made_by", "signal_seen", "signal_records")}
    values |= {name: n[name] for name in ("period_ns", "period_spread_ns")}
    if n["signal"] is None:
        return Fact("signal", "none was seen", values)
    name = f"{signals.name(n['signal'])} to the {'process' if n['signal_group'] else 'thread'}"
    made = f", {signals.code_name(n['signal_code'])}: {_maker(n)}{_sender(trace, n)}"
    often = ""
    if n["period_ns"] is not None:
        often = f", every {length(n['period_ns'])} (quartiles {length(n['period_spread_ns'])} apart)"
    seen = f"; it ended {n['signal_seen']:,} of the sleeps"
    share = "" if n["signal_seen"] == n["early_returns"] else seen
    return Fact("signal", name + made + often + share, values)


def _maker(n: dict[str, Any]) -> str:
    return "setitimer or alarm" if n["signal_made_by"] == "setitimer" else signals.source(n["signal_code"])


def _sender(trace: Trace, n: dict[str, Any]) -> str:
    if not n["sender_tid"]:
        return ""
    thread = trace.subject(n["sender_tgid"], n["sender_tid"], None).thread
    return f", sent by PID {n['sender_tgid']}, TID {n['sender_tid']}{f' ({thread})' if thread else ''}"


def least(n: dict[str, Any]) -> list[Fact]:
    """The shortest period that lets this thread through on this kernel, if it has one."""
    if n["least_period_ns"] is None:
        return []
    text = (
        f"{length(n['least_period_ns'])} or more between them would let it through each time (by the model)"
    )
    return [Fact("needs", text, {"least_period_ns": n["least_period_ns"]})]
