"""What a log amounts to, in one sentence; what it cannot say; and what to do next."""

from dataclasses import dataclass

from sldtrace.host import kernel
from sldtrace.kernlog.survey import FATAL_KINDS, Boot, Survey, Thread
from sldtrace.text import escape

_ONE_LINE = (5, 19)  # b041b525dab9: one line for each thread, and the penalty
_NAMED = 3  # threads that the sentence names

MODES = {
    "off": "split-lock detection is off",
    "warn": "split locks of guests and programs are logged and, since 5.19, punished",
    "fatal": "a VMM whose guest executes a split lock gets SIGBUS",
    "no-access": "the CPU has split-lock detection, but the kernel cannot switch it on",
}
_RATELIMIT = "bus locks of programs are slowed down to that rate for the whole host; no #AC"
_BUS_LOCK = {
    "warn": "bus locks of programs are logged, not punished",
    "fatal": "a program that locks the bus gets SIGBUS",
}

NEVER_RATES = (
    "Lines are not traps. Since Linux 5.19 (b041b525dab9) a thread gets one line in its life, however often "
    "it traps, and printk lets through at most 10 in 5 s: a thread whose line was suppressed never gets one. "
    "So the log tells who took a split lock and where, not how often, and not whether it gets through."
)
EARLIER = (
    "Before Linux 5.19 ({kernel} is) the kernel did not put the thread to sleep: no livelock by penalty."
)
SUPPRESSED = "The log says that {count} messages were suppressed: threads may be missing here."
CALLS = (
    "Lines of the function tracer (call) are one for each call, as far as its ring buffer kept them; they "
    "name no address, and not what became of the trap."
)
OOPS = (
    "OOPS: the kernel of the host itself executed a split lock. That is a bug in it or in a module and has "
    "nothing to do with guests or with the penalty: report it to whoever maintains the function named."
)
FATAL = (
    "SIGBUS: the kernel sent it to the VMM (fatal: split_lock_detect=fatal; bogus: an #AC that came with "
    "detection off), and says so for the first thread since boot only. With split_lock_detect=warn at the "
    "next boot guests are punished instead."
)
ABSENCE = (
    "No line does not mean no split lock: the ring buffer forgets, lines are suppressed, a thread is named "
    "only the first time, and with detection off nothing is said."
)


@dataclass(frozen=True)
class Verdict:
    """kind: guest-split-locks, split-locks, bus-locks, kernel-split-lock or nothing.

    sentence: the first line for people. limits: what must be known to read the rest rightly. advice: what to
    do, and the command for it. All are safe to print.
    """

    kind: str
    sentence: str
    limits: list[str]
    advice: list[tuple[str, str]]


def conclude(survey: Survey, recorded: bool = False) -> Verdict:
    """The verdict on a log that was read; `recorded`: beside a recording, so that none need be advised."""
    threads = list(survey.traps())
    split = [thread for thread in threads if thread.kind.startswith("split-lock")]
    guests = [thread for thread in split if thread.guest]
    if guests:
        kind, sentence = "guest-split-locks", _guests(guests, split)
    elif split:
        kind, sentence = (
            "split-locks",
            f"SPLIT LOCKS: {_count(split)} took one, none known as a vCPU by its name",
        )
    elif survey.oopses:
        kind, sentence = (
            "kernel-split-lock",
            "KERNEL SPLIT LOCK: the host's own kernel executed one, no guest did",
        )
    elif threads:
        kind, sentence = (
            "bus-locks",
            f"BUS LOCKS: {_count(threads)} took one (#DB); no split lock (#AC) is logged",
        )
    else:
        kind = "nothing"
        sentence = f"NO SPLIT LOCK in {_number(survey.tally.lines, 'line')}"
    return Verdict(kind, sentence, _limits(survey, threads), _advice(kind, recorded))


def meaning(name: str, bus_lock: bool) -> str:
    """What a mode that the kernel said at boot means; bus_lock: it was said of #DB, not of #AC."""
    if name.startswith("ratelimit:"):
        return _RATELIMIT
    return (_BUS_LOCK if bus_lock else MODES).get(name, MODES.get(name, ""))


def _guests(guests: list[Thread], split: list[Thread]) -> str:
    names = list(dict.fromkeys(f"{escape.comm(each.comm)} (TID {each.tid})" for each in guests))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    others = len(_people(split) - _people(guests))
    beside = f", and {_number(others, 'other thread')}" if others else ""
    several = "s" if len(_people(guests)) > 1 else ""
    return f"GUEST SPLIT LOCKS: vCPU thread{several} {', '.join(names[:_NAMED])}{more} took one{beside}"


def _people(threads: list[Thread]) -> set[tuple[str, int, bytes, int]]:
    return {(each.host, each.boot, each.comm, each.tid) for each in threads}


def _count(threads: list[Thread]) -> str:
    return _number(len(_people(threads)), "thread")


def _number(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _limits(survey: Survey, threads: list[Thread]) -> list[str]:
    said = []
    if threads:
        said.append(NEVER_RATES)
        old = [
            boot for boot in _trapping(survey, threads) if (0, 0) < kernel.version(boot.kernel) < _ONE_LINE
        ]
        said += [EARLIER.format(kernel=escape.escape(boot.kernel)) for boot in old[:1]]
    else:
        said.append(ABSENCE)
    if suppressed := survey.suppressed.total():
        said.append(SUPPRESSED.format(count=f"{suppressed:,}"))
    if any(thread.kind.endswith("-call") for thread in threads):
        said.append(CALLS)
    if any(thread.kind in FATAL_KINDS for thread in threads):
        said.append(FATAL)
    if survey.oopses:
        said.append(OOPS)
    return said


def _trapping(survey: Survey, threads: list[Thread]) -> list[Boot]:
    return [survey.boots[number] for number in sorted({thread.boot for thread in threads})]


def _advice(kind: str, recorded: bool) -> list[tuple[str, str]]:
    if recorded:
        return [("What became of the traps is in the recording:", "sldtrace report incident.sld")]
    record = (
        "while it is slow, on that host, as root; half a minute is enough",
        "sldtrace record -o incident.sld",
    )
    if kind in ("guest-split-locks", "split-locks"):
        return [
            (f"Record what happens to each trap {record[0]}:", record[1]),
            ("Then read the verdict, there or anywhere:", "sldtrace report incident.sld"),
        ]
    if kind == "nothing":
        return [(f"If a VM is slow all the same, do not rely on the log: record {record[0]}:", record[1])]
    return []
