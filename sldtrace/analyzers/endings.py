"""What ended the early returns of a thread, with the share of each cause: numbers, words, and remedies."""

from collections import Counter
from dataclasses import dataclass

from sldtrace.analyzers import thresholds
from sldtrace.analyzers.finding import Fact, Remedy
from sldtrace.analyzers.recovery import AT_NEXT_PENALTY, RESTARTED, VERIFY
from sldtrace.dataset.trace import Trace
from sldtrace.engine.loop_details import Details
from sldtrace.host import signals
from sldtrace.model.ending import Ending
from sldtrace.model.penalty import Penalty
from sldtrace.text.phrases import ms, percent

_SHOWN = 4
_PROBE = "signal:signal_generate"
_UNKNOWN = (Ending.NOT_READ, Ending.NOTHING_PENDING)

_NAMES = {
    Ending.SIGNAL: "a signal of which no more is known",
    Ending.FREEZER: "the cgroup freezer",
    Ending.PTRACE: "ptrace",
    Ending.GROUP_STOP: "a stop of the process",
    Ending.TASK_WORK: "task work",
    Ending.LIVEPATCH: "a live patch",
    Ending.NOT_READ: "unknown",
    Ending.NOTHING_PENDING: "unknown",
}


@dataclass(frozen=True)
class EndedBy:
    """One cause of early returns."""

    cause: str  # signal, freezer, ptrace, group_stop, task_work, livepatch, not_read or nothing_pending
    signal: int | None  # its number; None: no signal, or not known which
    ended: int  # sleeps and waits for the semaphore

    @property
    def ending(self) -> int:
        """The number of the signal, or an Ending."""
        return self.signal if self.signal is not None else Ending[self.cause.upper()]


def find(details: Details) -> tuple[EndedBy, ...]:
    """The causes of the early returns from the first loop to the last, those of the most first."""
    ended: Counter[int] = Counter()
    # Of equally many, the first one.
    for (number, *_), each in sorted(details.signals.items(), key=lambda item: item[1].first_ns):
        ended[number] += each.ended
    return tuple(
        EndedBy(
            "signal" if number > 0 else Ending(number).name.lower(), number if number > 0 else None, count
        )
        for number, count in ended.most_common()
        if count
    )


def name(ending: int) -> str:
    """A few words: the name of the signal, or of what else it was."""
    return signals.name(ending) if ending > 0 else _NAMES[Ending(ending)]


def fact(found: tuple[EndedBy, ...]) -> list[Fact]:
    """The causes and how many early returns each explains; empty where one signal explains all."""
    if len(found) == 1 and found[0].signal is not None:
        return []
    total = sum(each.ended for each in found)
    shown = [f"{name(each.ending)} {each.ended:,} ({percent(each.ended, total)})" for each in found[:_SHOWN]]
    if len(found) > _SHOWN:
        shown.append(f"{sum(each.ended for each in found[_SHOWN:]):,} by others")
    return [Fact("ended by", ", ".join(shown))]


def sentences(trace: Trace, found: tuple[EndedBy, ...], what: str, how: str, ends: str) -> str:
    """What ended the sleeps, with its share, the runner-up and what is not known.

    what: `the sleep` or `the wait`; how: the end of the first sentence; ends: the verb, `ends` or `ended`.
    """
    total = max(sum(each.ended for each in found), 1)
    known = [each for each in found if each.ending not in _UNKNOWN]
    unknown = [each for each in found if each.ending in _UNKNOWN]
    shares = [percent(each.ended, total) for each in known]
    if not known:
        first = f"Something {ends} {what} early{how}."
    elif len(found) == 1:
        first = f"{_subject(known[0])} {ends} {what} early{how}."
    else:
        second = f", {name(known[1].ending)} {shares[1]}" if len(known) > 1 else ""
        first = f"{_subject(known[0])} {ends} {what} early in {shares[0]} of the early returns{second}{how}."
    if not unknown:
        return first
    count = sum(each.ended for each in unknown)
    part = "" if not known else f" in {percent(count, total)}"
    why = f": {_why_unknown(trace, unknown)}" if count >= thresholds.ENDING_SHARE.value * total else "."
    return f"{first} It is not known what {ends} it{part}{why}"


def _subject(cause: EndedBy) -> str:
    described = {
        Ending.SIGNAL: "A signal of which no more is known",
        Ending.FREEZER: "The cgroup freezer",
        Ending.PTRACE: "A tracer that stops the thread (ptrace)",
        Ending.GROUP_STOP: "A stop of the whole process (SIGSTOP or job control)",
        Ending.TASK_WORK: "Task work, which has no signal (of io_uring, for example),",
        Ending.LIVEPATCH: "A live patch that is being applied or removed",
    }
    return signals.name(cause.ending) if cause.ending > 0 else described[Ending(cause.ending)]


def _why_unknown(trace: Trace, unknown: list[EndedBy]) -> str:
    if not any(probe == _PROBE and backend for probe, backend in trace.probes):
        return "signals could not be watched."
    if unknown[0].ending == Ending.NOTHING_PENDING:
        return (
            "nothing was pending for the thread. The freezer of cgroup v1, a suspend of the host, and a "
            "signal that another thread has taken leave nothing that can be seen."
        )
    return (
        "no signal was seen. ptrace, a freezer, a live patch and task work (of io_uring, for example) need "
        "none, and this recording does not tell them apart."
    )


def remedies(found: tuple[EndedBy, ...], penalty: Penalty, guest: bool, tgid: int, tid: int) -> list[Remedy]:
    """For each cause with a large share that is no signal of a known number."""
    total = sum(each.ended for each in found)
    chosen = dict.fromkeys(
        Ending.NOT_READ if each.ending == Ending.NOTHING_PENDING else Ending(each.ending)
        for each in found
        if each.ending < 0 and each.ended >= thresholds.ENDING_SHARE.value * total
    )
    return [_remedy(each, penalty, "VMM" if guest else "program", tgid, tid) for each in chosen]


def _remedy(ending: Ending, penalty: Penalty, where: str, tgid: int, tid: int) -> Remedy:
    above = ms(penalty.always_completes_above_ns)
    if ending is Ending.PTRACE:
        return Remedy(
            "On the host: detach the tracer of this thread (the command names it), or have it leave more "
            f"than {above} ms between two stops.",
            "the tracer (a debugger, strace, a profiler) sees less",
            f"grep TracerPid /proc/{tid}/status",
            undo="attach the tracer again",
            recovery=AT_NEXT_PENALTY,
            verify=VERIFY,
        )
    if ending is Ending.FREEZER:
        return Remedy(
            f"On the host: leave more than {above} ms between two freezes of the {where}'s cgroup (the "
            "command names it).",
            "what freezes it takes longer",
            f"cat /proc/{tgid}/cgroup",
            undo="freeze it as before",
            recovery=AT_NEXT_PENALTY,
            verify=VERIFY,
        )
    if ending is Ending.GROUP_STOP:
        return Remedy(
            f"On the host: find what stops the {where} (SIGSTOP, SIGTSTP), and leave more than {above} ms "
            "between two stops.",
            "what stops it takes longer",
            undo="stop it as before",
            recovery=AT_NEXT_PENALTY,
            verify=VERIFY,
        )
    if ending is Ending.TASK_WORK:
        return Remedy(
            f"In the {where}: use io_uring from another thread, or with IORING_SETUP_DEFER_TASKRUN (Linux "
            "6.1).",
            "completions are handled when the thread asks for them",
            undo="use io_uring as before",
            recovery=RESTARTED,
            verify=VERIFY,
        )
    if ending is Ending.LIVEPATCH:
        return Remedy(
            "On the host: wait until the live patch is applied; the kernel wakes threads until then.",
            "none",
            "cat /sys/kernel/livepatch/*/transition",
            undo="nothing was changed",
            recovery="when the command prints 0 for each patch, without a restart",
            verify=VERIFY,
        )
    return Remedy(
        "On the host: find what wakes this thread. That alone changes nothing.",
        "CPU time for the recording, and nothing else",
        f"perf record -a -g -e sched:sched_waking --filter 'pid=={tid}' sleep 10",
    )
