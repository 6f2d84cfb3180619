"""The verdict on a log in one sentence, its limits, and what to do next."""

from dataclasses import dataclass

from sldtrace.host import kernel
from sldtrace.kernlog.survey import FATAL_KINDS, Boot, Survey, Thread
from sldtrace.text import escape
from sldtrace.text.phrases import plural

_ONE_LINE = (5, 19)  # b041b525dab9: one line for each thread, and the penalty
_NAMED = 3  # threads named in the sentence

MODES = {
    "off": "split-lock detection is off",
    "warn": "split locks of guests and programs are logged and, since 5.19, penalized",
    "fatal": "a VMM whose guest executes a split lock gets SIGBUS",
    "no-access": "the CPU has split-lock detection, but the kernel cannot switch it on",
}
_RATELIMIT = "bus locks of programs are limited to that rate for the whole host; no #AC"
_BUS_LOCK = {
    "warn": "bus locks of programs are logged, without a penalty",
    "fatal": "a program that takes a bus lock gets SIGBUS",
}

NEVER_RATES = (
    "Lines are not traps. Since Linux 5.19 (b041b525dab9) the kernel logs one line for a thread, however "
    "often it traps, and printk logs at most 10 of them in 5 s; a suppressed line is not repeated. So the "
    "log shows which threads took a split lock and where, but not how often, and not whether they make "
    "progress."
)
EARLIER = "Linux {kernel} is before 5.19, and has no penalty: no livelock by early returns."
SUPPRESSED = "{count} messages were suppressed, according to the log: threads may be missing here."
CALLS = (
    "The function tracer writes one line for each call (call), until its ring buffer overwrites it; the line "
    "has no address and no outcome of the trap."
)
OOPS = (
    "OOPS: the kernel of the host executed a split lock. That is a bug in the kernel or in a module, "
    "unrelated to guests and to the penalty: report it to the maintainer of the named function."
)
FATAL = (
    "SIGBUS: the kernel sent it to the VMM (fatal: split_lock_detect=fatal; bogus: an #AC with detection "
    "off), and logs only the first one since boot. With split_lock_detect=warn at the next boot guests get a "
    "penalty instead."
)
ABSENCE = (
    "No line does not mean no split lock: the ring buffer overwrites old lines, printk suppresses lines, a "
    "thread is logged only once, and with detection off nothing is logged."
)


@dataclass(frozen=True)
class Verdict:
    """kind: guest-split-locks, split-locks, bus-locks, kernel-split-lock or nothing.

    sentence: the first line for people. limits: what the log cannot show. advice: what to do, and the command
    for it. All are safe to print.
    """

    kind: str
    sentence: str
    limits: list[str]
    advice: list[tuple[str, str]]


def conclude(survey: Survey, recorded: bool = False) -> Verdict:
    """The verdict on a log; `recorded`: it is compared with a recording, so none is advised."""
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
        sentence = f"NO SPLIT LOCK in {plural(survey.tally.lines, 'line')}"
    return Verdict(kind, sentence, _limits(survey, threads), _advice(kind, recorded))


def meaning(name: str, bus_lock: bool) -> str:
    """The meaning of a mode in a boot message; bus_lock: the message is about #DB, not #AC."""
    if name.startswith("ratelimit:"):
        return _RATELIMIT
    return (_BUS_LOCK if bus_lock else MODES).get(name, MODES.get(name, ""))


def _guests(guests: list[Thread], split: list[Thread]) -> str:
    names = list(dict.fromkeys(f"{escape.comm(each.comm)} (TID {each.tid})" for each in guests))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    others = len(_identities(split) - _identities(guests))
    rest = f", and {plural(others, 'other thread')}" if others else ""
    several = "s" if len(_identities(guests)) > 1 else ""
    return f"GUEST SPLIT LOCKS: vCPU thread{several} {', '.join(names[:_NAMED])}{more} took one{rest}"


def _identities(threads: list[Thread]) -> set[tuple[str, int, bytes, int]]:
    return {(each.host, each.boot, each.comm, each.tid) for each in threads}


def _count(threads: list[Thread]) -> str:
    return plural(len(_identities(threads)), "thread")


def _limits(survey: Survey, threads: list[Thread]) -> list[str]:
    limits = []
    if threads:
        limits.append(NEVER_RATES)
        old = [
            boot for boot in _trapping(survey, threads) if (0, 0) < kernel.version(boot.kernel) < _ONE_LINE
        ]
        limits += [EARLIER.format(kernel=escape.escape(boot.kernel)) for boot in old[:1]]
    else:
        limits.append(ABSENCE)
    if suppressed := survey.suppressed.total():
        limits.append(SUPPRESSED.format(count=f"{suppressed:,}"))
    if any(thread.kind.endswith("-call") for thread in threads):
        limits.append(CALLS)
    if any(thread.kind in FATAL_KINDS for thread in threads):
        limits.append(FATAL)
    if survey.oopses:
        limits.append(OOPS)
    return limits


def _trapping(survey: Survey, threads: list[Thread]) -> list[Boot]:
    return [survey.boots[number] for number in sorted({thread.boot for thread in threads})]


def _advice(kind: str, recorded: bool) -> list[tuple[str, str]]:
    if recorded:
        return [("The outcome of each trap is in the recording:", "sldtrace report incident.sld")]
    record = (
        "while the VM is slow, on that host, as root; half a minute is enough",
        "sldtrace record -o incident.sld",
    )
    if kind in ("guest-split-locks", "split-locks"):
        return [
            (f"Record the outcome of each trap {record[0]}:", record[1]),
            ("Then read the report, there or on another machine:", "sldtrace report incident.sld"),
        ]
    if kind == "nothing":
        return [(f"If a VM is slow, do not rely on the log: record {record[0]}:", record[1])]
    return []
