"""The verdict on a log: what happened, to whom, whether it matters, what to do and what that costs."""

from collections.abc import Iterator
from dataclasses import dataclass

from sldtrace.host import kernel
from sldtrace.kernlog import parties
from sldtrace.kernlog.attribution import EITHER, FATAL_KINDS
from sldtrace.kernlog.parties import Party
from sldtrace.kernlog.survey import Boot, Survey, Thread
from sldtrace.model.generation import PENALTY, SWITCHABLE
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address, length, plural

_NAMED = 3  # parties named in the sentence

NOTHING, UNKNOWN, SUPPRESSED_ONLY, OFF = "nothing", "unknown", "suppressed", "detection-off"
GUESTS, PROGRAMS, BUS_LOCKS, KERNEL = (
    "guest-split-locks",
    "split-locks",
    "bus-locks",
    "kernel-split-lock",
)

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
    "Lines are not traps. Since Linux 5.19 (b041b525dab9) the kernel logs one line for a thread's #AC, "
    "however often it traps, and printk logs at most 10 of them in 5 s; a suppressed line is not repeated. "
    "So the log shows which threads took a split lock and where, but not how often, and not whether they "
    "make progress."
)
EARLIER_LINES = (
    "Linux {kernel} is before 5.19: it logs a line for each trap, of which printk prints at most 10 in 5 s."
)
BUS_LINES = (
    "The kernel logs a line for each bus lock that traps (#DB), of which printk prints at most 10 in 5 s: "
    "lines and suppressed messages are a lower bound of the bus locks."
)
SUPPRESSED = "{count} messages were suppressed, according to the log: threads may be missing here."
CALLS = (
    "The function tracer writes one line for each call (call), until its ring buffer overwrites it; the line "
    "has no address and no outcome of the trap."
)
ABSENCE = (
    "No line does not mean no split lock: the ring buffer overwrites old lines, printk suppresses lines, a "
    "thread is logged only once, and with detection off nothing is logged."
)

COMM = "The kernel keeps 15 bytes of a thread's name."
_COMM = 15

OOPS = (
    "OOPS: the kernel of the host executed a split lock. That is a bug in the kernel or in a module, "
    "unrelated to guests and to the penalty: report it to the maintainer of the named function."
)
FATAL = (
    "SIGBUS: the kernel sent it to the VMM (fatal: split_lock_detect=fatal; bogus: an #AC with detection "
    "off), and logs only the first one since boot."
)
_PENALTY = (
    "Each such trap puts the thread to sleep for 10 ms or more, and only one thread of the host completes "
    "its penalty at a time"
)
_FREEZES = "a signal (a timer of its VMM) ends the sleep early, and then it traps again without progress"
_NO_PENALTY = (
    "Linux {kernel} logs split locks, but has no penalty (5.19 is the first): a trap costs microseconds."
)
_DEPENDS = (
    "It depends on the kernel, which this log does not name: before 5.19 there is no penalty, since 5.19 it "
    "is as above."
)
_BUS = (
    "#DB only logs: the kernel never puts the thread to sleep for it in the mode warn, and "
    "kernel.split_lock_mitigate changes nothing. What costs time is the bus lock itself, which holds up the "
    "memory accesses of all CPUs, and a trap of some microseconds for each."
)
_BUS_RATELIMIT = (
    "split_lock_detect={mode}: the host's programs take no more bus locks a second than this, together; "
    "above it the thread waits 20 ms at a time, which no signal ends. That explains a slow program."
)
_BUS_FATAL = "split_lock_detect=fatal: a program that takes a bus lock gets SIGBUS, which ends it."
_IN_GUEST = (
    "The log is that of a guest's kernel (Hypervisor detected: {name}): its lines are about programs in this "
    "guest. Whether the host traps and penalizes the guest's split locks is not visible here; the host's log "
    "is, where the VM's vCPU threads (CPU 0/KVM of QEMU, fc_vcpu 0 of Firecracker) have lines of #AC."
)
_OFF = (
    "split_lock_detect=off is in effect: the kernel's own line says disabled. (That the parameter is unknown "
    "and passed to user space, in another line, only repeats it.) No split lock traps on this boot, so none "
    "is logged, penalized or recorded: a slow VM has another cause."
)
_ONLY_SUPPRESSED = (
    "There were traps, whose messages printk suppressed: threads and addresses are not known. Earlier lines "
    "of the log may have other threads."
)
_MITIGATE_OPTION = (
    "split_lock_mitigate on the kernel's command line has no effect: it is a sysctl. "
    "sysctl.kernel.split_lock_mitigate=0 works there (since 5.8)."
)

_ANY = "any VM or program of the host can then slow down the memory of all others"


@dataclass(frozen=True)
class Remedy:
    """What to do, the command or setting (may be empty), and what it costs."""

    what: str
    command: str
    cost: str


@dataclass(frozen=True)
class Verdict:
    """kind: one of the constants above.

    sentence: the first line for people. understood: everything that looked like split-lock detection was, and
    the logs have lines of a kernel. parties: to whom it happened. matters: whether it matters, and why.
    remedies: what to do. limits: what the log cannot show. holds: the conditions of --fail-on that hold.
    All but the names in `parties` is safe to print.
    """

    kind: str
    sentence: str
    understood: bool
    parties: list[Party]
    matters: list[str]
    remedies: list[Remedy]
    limits: list[str]
    holds: frozenset[str]


def conclude(survey: Survey, recorded: bool = False) -> Verdict:
    """The verdict on a log; `recorded`: it is compared with a recording, so none is advised."""
    found = parties.group(survey)
    facts = _Facts(survey, found)
    problem = _problem(survey)
    kind, sentence = _what(survey, facts)
    if problem and kind == NOTHING:
        kind, sentence = UNKNOWN, f"COULD NOT TELL: {problem}"
    elif problem:
        sentence = f"NOT ALL IS UNDERSTOOD ({problem}). {sentence}"
    return Verdict(
        kind,
        sentence,
        not problem,
        found,
        list(_matters(survey, facts)),
        list(_remedies(kind, survey, facts, recorded)),
        list(_limits(survey, facts)),
        frozenset(_conditions(survey, facts)),
    )


def _conditions(survey: Survey, facts: "_Facts") -> Iterator[str]:
    if facts.vms:
        yield "guest-split-lock"
    if facts.split or survey.suppressed["split_lock_warn"]:
        yield "split-lock"
    if facts.bus or survey.suppressed["handle_bus_lock"]:
        yield "bus-lock"
    if survey.oopses:
        yield "kernel-split-lock"


def meaning(name: str, bus_lock: bool) -> str:
    """The meaning of a mode in a boot message; bus_lock: the message is about #DB, not #AC."""
    if name.startswith("ratelimit:"):
        return _RATELIMIT
    return (_BUS_LOCK if bus_lock else MODES).get(name, MODES.get(name, ""))


class _Facts:
    # What decides about the verdict: who trapped, on which kernels, in which modes.
    def __init__(self, survey: Survey, found: list[Party]) -> None:
        self.split = [party for party in found if not party.bus_lock]
        self.bus = [party for party in found if party.bus_lock]
        self.vms = [party for party in self.split if party.is_vm]
        self.programs = [party for party in self.split if not party.is_vm]
        self.fatal = any(thread.kind in FATAL_KINDS for party in found for thread in party.threads)
        boots = sorted({party.boot for party in found}) or range(len(survey.boots))
        self.boots = [survey.boots[number] for number in boots]
        self.split_boots = [survey.boots[number] for number in sorted({party.boot for party in self.split})]
        self.bus_boots = [survey.boots[number] for number in sorted({party.boot for party in self.bus})]
        if not found and survey.suppressed["split_lock_warn"]:
            self.split_boots = self.boots
        if not found and survey.suppressed["handle_bus_lock"]:
            self.bus_boots = self.boots
        self.in_guest = next((boot.hypervisor for boot in self.boots if boot.hypervisor), "")
        self.old = [boot for boot in self.split_boots if _is_old(boot)]
        # Boots on which a split lock had the penalty, or may have had it.
        self.penalized = [boot for boot in self.split_boots if not _is_old(boot)]
        last = {boot.host: boot for boot in survey.boots}.values()
        self.all_old = bool(survey.boots) and all(map(_is_old, survey.boots))
        self.off = bool(survey.boots) and all(_mode(boot) == "off" for boot in last)

    @property
    def kernel_known(self) -> bool:
        return all(boot.kernel for boot in self.penalized)


def _is_old(boot: Boot) -> bool:
    return (0, 0) < kernel.version(boot.kernel) < PENALTY.since


# Of #AC, else of #DB, by the kernel's messages, else by its command line; empty if it is not known.
def _mode(boot: Boot, bus_lock: bool = False) -> str:
    for mode in boot.modes:
        if mode.text.startswith("#DB") == bus_lock or mode.name in ("off", "no-access"):
            return mode.name
    if boot.option and not boot.modes:
        return boot.option
    return ""


def _problem(survey: Survey) -> str:
    matched = survey.matched
    if count := matched["unknown"]:
        is_are = "looks" if count == 1 else "look"
        return f"{plural(count, 'message')} {is_are} like split-lock detection, but could not be read"
    if count := matched["blob"]:
        return f"{plural(count, 'message')} of the kernel are shown as blob data: use journalctl --all"
    known = matched.total() - matched["not_kernel"]
    if count := matched["not_kernel"] if not known else 0:
        lines = plural(count, "line")
        return f"{lines} about split locks, by another program than the kernel, and none by the kernel"
    if not survey.tally.lines:
        return "the log is empty"
    if not known and not survey.tally.kernel:
        return f"none of {plural(survey.tally.lines, 'line')} is known to be of a kernel's log"
    if survey.tally.cut and not known:
        return f"{plural(survey.tally.cut, 'line')} too long, only the beginning was read"
    return ""


def _what(survey: Survey, facts: _Facts) -> tuple[str, str]:
    if facts.vms:
        return (
            GUESTS,
            f"GUEST SPLIT LOCKS: {_who(facts.vms)}{_and(facts.programs)}{_and(facts.bus, _WITH_BUS)}",
        )
    if facts.programs:
        title = "SPLIT LOCKS OF A PROGRAM" if len(facts.programs) == 1 else "SPLIT LOCKS OF PROGRAMS"
        own = "" if facts.in_guest else ", not of a guest"
        return PROGRAMS, f"{title}{own}: {_who(facts.programs)}{_and(facts.bus, _WITH_BUS)}"
    if survey.oopses:
        return KERNEL, "KERNEL SPLIT LOCK: the host's own kernel executed one, no guest did"
    if facts.bus:
        own = "in this guest" if facts.in_guest else "on this host"
        return BUS_LOCKS, f"BUS LOCKS of programs {own} (#DB), no split lock (#AC): {_who(facts.bus)}"
    if survey.suppressed.total():
        counts = [f"{count:,} of {escape(name)}" for name, count in survey.suppressed.items()]
        what = "SPLIT LOCKS" if survey.suppressed["split_lock_warn"] else "BUS LOCKS"
        return SUPPRESSED_ONLY, f"{what}, BUT NOT WHOSE: only suppressed messages ({', '.join(counts)})"
    if facts.off:
        return OFF, "DETECTION IS OFF: split locks do not trap on this boot, and are not logged"
    return NOTHING, f"NO SPLIT LOCK in {plural(survey.tally.lines, 'line')}"


def _who(found: list[Party]) -> str:
    if len(found) == 1:
        return _one(found[0])
    threads = sum(len(party.tids) for party in found)
    what = plural(threads, "vCPU" if all(party.are_vcpus for party in found) else "thread")
    of = f"of probably {plural(len(found), 'VM')}" if found[0].is_vm else f"of {_names(found)}"
    places = {where for party in found for where in party.addresses}
    return f"{what} {of}{_places(places)}"


def _one(party: Party) -> str:
    text = f"{party.count} of {'probably one VM' if party.is_vm and not party.threads[0].vm else party.name}"
    if len(party.tids) == 1:
        thread = party.threads[0]
        text = f"{escape(thread.name) or '(no name)'} (TID {thread.tid})"
        text = f"vCPU {thread.vcpu}, {text}" if party.is_vm and thread.vcpu is not None else text
    span = party.span_ns
    within = f", within {length(span)}" if span else ""
    return f"{text}{_places(set(party.addresses))}{within}"


def _places(places: set[int]) -> str:
    if not places:
        return ""
    return f", one address ({address(min(places))})" if len(places) == 1 else f", {len(places):,} addresses"


_WITH_BUS = " with bus locks (#DB)"


def _and(found: list[Party], what: str = "") -> str:
    if not found:
        return ""
    threads = sum(len(party.tids) for party in found)
    return f"; and {plural(threads, 'thread')} of {_names(found)}{what}"


def _names(found: list[Party]) -> str:
    names = list(dict.fromkeys(party.name for party in found))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _matters(survey: Survey, facts: _Facts) -> Iterator[str]:
    if facts.in_guest:
        yield _IN_GUEST.format(name=escape(facts.in_guest))
    if facts.fatal:
        yield FATAL
    if survey.oopses:
        yield OOPS
    if facts.off and not facts.split_boots and not facts.bus_boots:
        yield _OFF
    yield from _penalty(facts)
    yield from _bus(facts)
    if not facts.split and not facts.bus and survey.suppressed.total():
        yield _ONLY_SUPPRESSED
    if any(boot.mitigate_option for boot in survey.boots):
        yield _MITIGATE_OPTION


def _penalty(facts: _Facts) -> Iterator[str]:
    penalized = [boot for boot in facts.penalized if _mode(boot) != "fatal"]
    if penalized and not (facts.fatal and not facts.programs):
        parts = []
        if facts.vms:
            parts.append(f"a vCPU stands still in it, and {_FREEZES}: the VM is slow or frozen")
        if facts.programs or not facts.vms:
            parts.append(
                "a program that does it often is slow: this can explain low frame rates or a slow start"
            )
        yield f"{_PENALTY}: {'; '.join(parts)}."
        if not facts.kernel_known:
            yield _DEPENDS
    for boot in facts.old[:1]:
        yield _NO_PENALTY.format(kernel=escape(boot.kernel))
    if any(party.attribution.who == EITHER for party in facts.vms):
        yield (
            "At addresses such as 0x55... and 0x7f... there may be a program of the guest, or the VMM's own "
            "code in that thread: only a recording shows which."
        )


def _bus(facts: _Facts) -> Iterator[str]:
    modes = {_mode(boot, bus_lock=True) for boot in facts.bus_boots}
    for mode in sorted(modes):
        if mode.startswith("ratelimit:"):
            yield _BUS_RATELIMIT.format(mode=escape(mode))
        elif mode == "fatal":
            yield _BUS_FATAL
    if modes & {"", "warn"}:
        yield _BUS


def _remedies(kind: str, survey: Survey, facts: _Facts, recorded: bool) -> Iterator[Remedy]:
    if recorded:
        yield Remedy("The outcome of each trap is in the recording.", "sldtrace report incident.sld", "none")
    penalized = [boot for boot in facts.penalized if _mode(boot) not in ("fatal", "off")]
    trapped = bool(facts.split) or kind == SUPPRESSED_ONLY
    if penalized and trapped and not facts.in_guest and not _only_fatal(facts):
        yield from _against_penalty(penalized, kind, facts, recorded)
    elif kind in (NOTHING, UNKNOWN) and not recorded and not facts.in_guest and not facts.all_old:
        yield Remedy(
            "If a VM is slow, do not rely on the log: record while it is, on the host, as root.",
            "sldtrace record -o incident.sld",
            "some per cent of a CPU while it records",
        )
    if facts.in_guest and not recorded:
        yield Remedy(
            "Measure in this guest whether its host delays split locks, and for how long.",
            "sldtrace probe",
            "two seconds, and at most 50 split locks",
        )
    if facts.fatal:
        yield Remedy(
            "Boot with split_lock_detect=warn: guests get a penalty instead of SIGBUS.",
            "split_lock_detect=warn",
            "a reboot; a guest that does it often is then slow",
        )
    if trapped or facts.bus:
        only_bus = not facts.split and not survey.suppressed["split_lock_warn"]
        cost = "bus locks are no longer logged, and split locks no longer detected"
        where = "in this guest" if facts.in_guest else "for the whole host"
        also = "this also ends the #DB lines" if facts.bus_boots else "also where there is no such sysctl"
        yield Remedy(
            f"Switch detection off {where}, at the next boot; {also}.",
            "split_lock_detect=off",
            f"a reboot; {cost if only_bus else f'split locks are no longer detected: {_ANY}'}",
        )
        yield Remedy(
            "Repair the cause: align the data that is locked, or update the program or the guest's driver.",
            "",
            "none for the host; the owner of the program has to do it",
        )


def _only_fatal(facts: _Facts) -> bool:
    return bool(facts.split) and all(
        thread.kind in FATAL_KINDS for party in facts.split for thread in party.threads
    )


def _against_penalty(boots: list[Boot], kind: str, facts: _Facts, recorded: bool) -> Iterator[Remedy]:
    unswitchable = [boot for boot in boots if (0, 0) < kernel.version(boot.kernel) < SWITCHABLE.since]
    known = len(unswitchable) == len(boots)
    when = "since Linux 6.2, and where it was backported"
    missing = f"; {escape(unswitchable[0].kernel)} has it only if it was backported" if known else ""
    yield Remedy(
        f"Switch the penalty off, at once ({when}{missing}).",
        "sysctl kernel.split_lock_mitigate=0",
        f"{_ANY}; until the next boot, unless it is in /etc/sysctl.d",
    )
    if not recorded:
        who = "the VM" if kind == GUESTS else "the program"
        yield Remedy(
            f"Record how often it traps and with which outcome, while {who} is slow, on that host, as root.",
            "sldtrace record -d 30s -o incident.sld",
            "some per cent of a CPU for half a minute",
        )


def _limits(survey: Survey, facts: _Facts) -> Iterator[str]:
    if facts.split or facts.bus:
        if facts.split and facts.penalized:
            yield NEVER_RATES
        for boot in facts.old[:1]:
            yield EARLIER_LINES.format(kernel=escape(boot.kernel))
        if facts.bus:
            yield BUS_LINES
    elif not survey.suppressed.total() and not facts.off:
        yield ABSENCE
    if suppressed := survey.suppressed.total():
        yield SUPPRESSED.format(count=f"{suppressed:,}")
    if any(len(thread.comm) == _COMM for thread in survey.traps()):
        yield COMM
    threads: list[Thread] = [thread for party in (*facts.split, *facts.bus) for thread in party.threads]
    if any(thread.kind.endswith("-call") for thread in threads):
        yield CALLS
