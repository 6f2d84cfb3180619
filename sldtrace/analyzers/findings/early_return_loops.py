"""Finds threads that trap on one instruction again and again because a signal ends each penalty early.

The rule is in sldtrace.model.early_returns. Three kinds, because what has to be changed differs:

- a vCPU in the sleep: `if (msleep_interruptible(10) > 0) return;` in split_lock_warn,
  arch/x86/kernel/cpu/bus_lock.c (b041b525dab9);
- a vCPU in the wait for the semaphore after it: `if (down_interruptible(&buslock_sem) == -EINTR) return;`. A
  free semaphore is taken without a look at signals; while another thread's penalty holds it, a pending signal
  gives -EINTR at once (kernel/locking/semaphore.c);
- a program's own split lock: its #AC goes to handle_user_split_lock, which calls the same split_lock_warn. A
  periodic SIGALRM and a split `xchg` are enough.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from sldtrace.analyzers import (
    addresses,
    cpu_waits,
    ending_signal,
    endings,
    loops,
    penalties,
    progress,
    remedies,
    vmm_kicks,
)
from sldtrace.analyzers.analyzer import Analyzer
from sldtrace.analyzers.finding import Fact, Finding, Interval, Remedy, Severity
from sldtrace.analyzers.loops import LoopNumbers, Loops
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset import folding
from sldtrace.dataset.trace import Trace
from sldtrace.engine.loops import Loop
from sldtrace.engine.tables import Array
from sldtrace.model import early_returns as rule
from sldtrace.text.phrases import length, ms, plural


@dataclass(frozen=True)
class LoopKind:
    """What differs between the kinds."""

    kind: str
    title: str
    needs: Needs
    cause: Callable[[Trace, Loops], str]  # what the signals end, after the sentence about the penalty
    remedies: Callable[[Trace, Loops], list[Remedy]]


def _ended_sleep(trace: Trace, each: Loops) -> str:
    after = f", after a median of {ms(each.numbers.slept_median_ns)} ms"
    return _ended_by(trace, each, "the sleep", after)


def _ended_by(trace: Trace, each: Loops, what: str, how: str) -> str:
    ongoing = _is_ongoing(trace, each)
    ends, verb = penalties.tense(ongoing, "ends", "ended"), penalties.tense(ongoing, "is", "was")
    found = endings.sentences(trace, each.numbers.ended_by, what, how, ends)
    return (
        found
        + ending_signal.sentence(trace, each.numbers.signals, verb, len(each.numbers.ended_by) == 1)
        + vmm_kicks.sentence(_kicker(trace, each))
    )


def _kicker(trace: Trace, each: Loops) -> str | None:
    return vmm_kicks.kicker(trace, each.loop.tgid, each.numbers.signal)


def _is_ongoing(trace: Trace, each: Loops) -> bool:
    return penalties.is_ongoing(trace, each.penalty, each.loop.end_ns)


def _and_then(trace: Trace, each: Loops) -> str:
    returns, traps = ("returns", "traps") if _is_ongoing(trace, each) else ("returned", "trapped")
    return f"The kernel then {returns} with detection still on, and the same instruction {traps} again."


def _cause_in_sleep(trace: Trace, each: Loops) -> str:
    return f"{_ended_sleep(trace, each)} {_and_then(trace, each)}"


def _cause_at_semaphore(trace: Trace, each: Loops) -> str:
    ended = _ended_by(trace, each, "the wait", "")
    return (
        "After the sleep the thread takes a semaphore, one for the whole host, which each penalty holds for "
        f"{penalties.window(each.penalty)}. {ended} "
        f"{plural(each.numbers.semaphore_early_returns, 'wait')} ended so, while penalties of other threads "
        f"held the semaphore. {_and_then(trace, each)}"
    )


def _cause_in_program(trace: Trace, each: Loops) -> str:
    runs, executes, traps = (
        ("runs", "executes", "traps") if _is_ongoing(trace, each) else ("ran", "executed", "trapped")
    )
    then = f"The kernel {runs} the program's signal handler, and the program"
    if each.numbers.signal is None:
        then = "The program then"
    return (
        f"{_ended_sleep(trace, each)} {then} {executes} the same instruction with detection still on: it "
        f"{traps} again. No VM is involved, the instruction is the program's own."
    )


def _remedies_by_cause(trace: Trace, each: Loops, where: str) -> list[Remedy]:
    signals = each.numbers.signals
    if _kicker(trace, each) and each.numbers.signal:
        least_ns = each.penalty.always_completes_above_ns
        further = vmm_kicks.remedies(trace, least_ns, each.loop.tgid, each.numbers.signal)
    else:
        further = [remedies.longer_period(each.penalty, signals, where)] if signals else []
    return further + _remedies_without_signal(each)


def _remedies_without_signal(each: Loops) -> list[Remedy]:
    return endings.remedies(
        each.numbers.ended_by, each.penalty, each.numbers.guest, each.loop.tgid, each.loop.tid
    )


def _remedies_in_sleep(trace: Trace, each: Loops) -> list[Remedy]:
    return [
        *remedies.no_penalty(trace, each.penalty),
        *_remedies_by_cause(trace, each, "VMM"),
        remedies.align(guest=True),
        remedies.no_detection(),
    ]


def _remedies_at_semaphore(trace: Trace, each: Loops) -> list[Remedy]:
    return [
        *remedies.no_penalty(trace, each.penalty),
        remedies.fewer_at_once(),
        *(remedies.period_for_all(each.numbers) if each.numbers.signals else []),
        *_remedies_without_signal(each),
        remedies.align(guest=True),
        remedies.no_detection(),
    ]


def _remedies_in_program(trace: Trace, each: Loops) -> list[Remedy]:
    return [
        *remedies.no_penalty(trace, each.penalty),
        remedies.align(guest=False),
        *_remedies_by_cause(trace, each, "program"),
        remedies.no_detection(),
    ]


KINDS: tuple[LoopKind, ...] = (
    LoopKind(
        rule.SLEEP,
        "loops of early returns",
        Needs(("trap",)),
        _cause_in_sleep,
        _remedies_in_sleep,
    ),
    LoopKind(
        rule.SEMAPHORE,
        "loops at the penalty's semaphore",
        Needs(("trap",), probes=("down_interruptible",)),
        _cause_at_semaphore,
        _remedies_at_semaphore,
    ),
    LoopKind(
        rule.PROGRAM,
        "loops of programs' own split locks",
        Needs(("trap",), probes=("split_lock_warn",)),
        _cause_in_program,
        _remedies_in_program,
    ),
)


def find(kind: LoopKind, trace: Trace) -> list[Finding[LoopNumbers]]:
    """One finding of that kind for each thread and address with loops, the longest first."""
    return [_finding(kind, trace, each) for each in loops.find_loops(trace) if each.kind == kind.kind]


ANALYZERS = tuple(
    Analyzer(each.kind, each.title, each.needs, LoopNumbers, partial(find, each)) for each in KINDS
)


def _finding(kind: LoopKind, trace: Trace, found: Loops) -> Finding[LoopNumbers]:
    loop, numbers, penalty = found.loop, found.numbers, found.penalty
    verdict, severity = rule.verdict(loop.livelock)
    confidence, reason = progress.confidence(trace, penalty, numbers.progress, loop)
    ongoing = _is_ongoing(trace, found)
    return Finding(
        kind=kind.kind,
        severity=Severity[severity.upper()],
        verdict=verdict,
        subject=trace.subject(loop.tgid, loop.tid, loop.vcpu if loop.vcpu >= 0 else None),
        headline=_headline(trace, loop, ongoing),
        rip=loop.rip,
        start_ns=loop.start_ns,
        end_ns=loop.end_ns,
        ongoing=ongoing,
        confidence=confidence,
        confidence_reason=reason,
        cause=f"{penalties.explained(penalty)} {kind.cause(trace, found)}{penalties.assumption(penalty)}",
        facts=_facts(trace, loop, numbers, ongoing),
        numbers=numbers,
        remedies=kind.remedies(trace, found),
        evidence=loops.evidence(trace, loop),
        intervals=_intervals(folding.fold(trace).loops.phases(loop)),
    )


# In the tense of its time. That a thread got past the address is known from detection off only.
def _headline(trace: Trace, loop: Loop, ongoing: bool) -> str:
    where = addresses.named(trace, loop.rip, loop.guest)
    if ongoing:
        return f"{'does not get past' if loop.livelock else 'is delayed at'} {where}"
    verb = "did not get past" if loop.livelock else "was delayed at"
    lasted = f"for {length(loop.longest_ns)}" if loop.loops == 1 else f"for up to {length(loop.longest_ns)}"
    then = ", then made progress" if loop.detection_off_since else ""
    return f"{verb} {where} {lasted}{then}"


# What the thread did after its last loop; empty if that is ongoing.
def _since(trace: Trace, loop: Loop, ongoing: bool) -> list[Fact]:
    if ongoing:
        return []
    rest = f"in the {length(trace.span_ns[1] - loop.end_ns)} up to the end of the recording"
    if not loop.traps_since:
        return [Fact("then", f"no split lock of the thread {rest}")]
    off = f"detection off after {loop.detection_off_since:,} of them"
    return [Fact("then", f"{plural(loop.traps_since, 'trap')}, {off}, {rest}")]


def _facts(trace: Trace, loop: Loop, n: LoopNumbers, ongoing: bool) -> list[Fact]:
    several = f"{n.loops:,} stretches, the longest {length(n.longest_ns)}"
    semaphore = f" ({n.semaphore_early_returns:,} from its semaphore)" if n.semaphore_early_returns else ""
    traps = f"{n.traps:,}, of which {n.early_returns:,} early returns of the penalty{semaphore}"
    whole = f"{length(n.sleep_shortest_ns)} to {length(n.sleep_longest_ns)}"
    return [
        *addresses.facts(trace, loop.tgid, loop.tid, loop.rip, loop.guest),
        *_since(trace, loop, ongoing),
        *([Fact("in loops", f"{length(n.in_loops_ns)} in {several}")] if n.loops > 1 else []),
        Fact("traps", traps),
        Fact("slept", f"{length(n.slept_median_ns)} (median); a completed sleep lasts {whole}"),
        *endings.fact(n.ended_by),
        *ending_signal.facts(trace, n.signals, n.early_returns),
        *_needs(n),
        progress.fact(n.progress, n.in_loops_ns, n.guest, n.loops),
        *cpu_waits.fact(n.cpu),
    ]


def _needs(n: LoopNumbers) -> list[Fact]:
    if n.least_period_ns is None:
        return []
    least = length(n.least_period_ns)
    return [Fact("needs", f"{least} or more between signals to complete every penalty (by the model)")]


# What is between two phases is one, too.
def _intervals(phases: Array) -> list[Interval]:
    if len(phases) < 2:
        return []
    found = [_interval(phases[0]["start"], phases[0]["end"], phases[0]["before"], phases[0]["after"], "loop")]
    for one, other in pairwise(phases):
        found.append(_interval(one["end"], other["start"], one["after"], other["before"], ""))
        found.append(_interval(other["start"], other["end"], other["before"], other["after"], "loop"))
    return found


# before, after: the counters of the thread.
def _interval(start: Array, end: Array, before: Array, after: Array, verdict: str) -> Interval:
    traps, early, detection_off = (int(after[name] - before[name]) for name in ("traps", "early", "off"))
    # Without a trap the thread took no split lock; where detection was off it made progress.
    verdict = verdict or (
        "progresses" if detection_off else "no split locks" if not early else "early returns, no loop"
    )
    return Interval(
        int(start), int(end), verdict, traps=traps, early_returns=early, detection_off=detection_off
    )
