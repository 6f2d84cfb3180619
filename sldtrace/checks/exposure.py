"""Can a split lock freeze a guest on this host: CPU, boot mode, kernel, sysctl, KVM."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sldtrace.checks import bootlog
from sldtrace.checks.bootlog import BootLog
from sldtrace.checks.result import AS_ROOT, Check, Fix, Places, State
from sldtrace.errors import SldtraceError
from sldtrace.host import kallsyms, kernel, kvm, livepatch, split_lock
from sldtrace.host.distribution import Distribution
from sldtrace.host.split_lock import SplitLock
from sldtrace.model import generation as generations
from sldtrace.model import penalty as kernel_penalty
from sldtrace.model.generation import Generation
from sldtrace.model.penalty import Penalty
from sldtrace.strenum import StrEnum
from sldtrace.text.phrases import ms


class Exposure(StrEnum):
    """The effect of a guest's split lock."""

    FREEZES = "freezes"
    """Its vCPU thread sleeps, and signals can keep it from making progress."""
    KILLS = "kills"
    """Its VMM gets SIGBUS."""
    NONE = "none"
    """It does not trap, or the trap costs no sleep."""
    UNKNOWN = "unknown"
    """This machine is a guest itself: its host decides."""


@dataclass(frozen=True)
class Facts:
    """The facts that exposure depends on.

    cpu: the fields of /proc/cpuinfo; lock.mode: from the kernel's log if it has it; mitigate_option: the
    kernel's command line has split_lock_mitigate, which is a sysctl and no option; replaced: see
    livepatch.replaced.
    """

    cpu: dict[str, str]
    lock: SplitLock
    cmdline_mode: str
    log: BootLog
    generation: Generation | None
    penalty: Penalty
    kvm: str | None
    mitigate_option: bool = False
    replaced: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def is_a_guest(self) -> bool:
        """Does this machine run under a hypervisor? Its kernel then sets no split-lock detection up."""
        return "hypervisor" in self.flags and not self.lock.detects_split_locks

    @property
    def penalizes(self) -> bool:
        """Does the mode put a thread to sleep that takes a split lock (#AC)?"""
        return not self.is_a_guest and self.lock.why_no_traps() is None and self.lock.mode != "fatal"

    @property
    def bus_locks(self) -> str | None:
        """The effect of a bus lock (#DB) of a program; None if none traps."""
        if not self.lock.traps_bus_locks:
            return None
        if self.lock.mode.startswith("ratelimit:"):
            rate = self.lock.mode.partition(":")[2]
            return (
                f"programs that lock the bus are held to {rate} bus locks a second for the whole host: "
                "above it they sleep 20 ms at a time, which no signal ends"
            )
        if self.lock.mode == "fatal":
            return "a program that locks the bus gets SIGBUS"
        return (
            "bus locks of programs trap (#DB) and are logged, and the kernel never puts a thread to sleep "
            "for them"
        )

    @property
    def flags(self) -> set[str]:
        """The CPU flags."""
        return set(self.cpu.get("flags", "").split())


def read(places: Places) -> Facts:
    """The facts of the host. Raises SldtraceError if /proc/cpuinfo cannot be read."""
    try:
        cpu = split_lock.cpu_fields((places.proc / "cpuinfo").read_text(errors="replace"))
        lock = split_lock.read(places.proc)
        behaviour = generations.from_symbols(kallsyms.generation_symbols(places.proc / "kallsyms"))
    except OSError as error:
        raise SldtraceError(f"{error.filename} cannot be read: {error.strerror}", "mount /proc") from None
    log = bootlog.read(places.dev / "kmsg")
    seen = lock
    if log.mode and lock.mode != "unsupported":
        seen = SplitLock(log.mode, lock.detects_split_locks, lock.detects_bus_locks, lock.mitigate)
    option = re.search(r"(?:^|\s)(?:no_?)?split_lock_mitigate\b", _read(places.proc / "cmdline"))
    driver = kvm.module(set(cpu.get("flags", "").split()), places.proc, places.sys)
    penalty = kernel_penalty.for_kernel(
        kernel.release(), kernel.tick_ns(), mode=seen.mode, mitigate=seen.mitigate
    )
    if behaviour:
        penalty = replace(penalty, generation=behaviour, mitigate=seen.mitigate)
    replaced = livepatch.replaced(places.sys)
    return Facts(cpu, seen, lock.mode, log, behaviour, penalty, driver, bool(option), replaced)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def evaluate(facts: Facts) -> tuple[Exposure, str]:
    """The effect of a split lock on this host, and why, in one sentence."""
    lock = facts.lock
    if facts.is_a_guest:
        why = "this machine is a guest: its host decides whether its split locks trap, and what that costs"
        own = facts.bus_locks
        return Exposure.UNKNOWN, f"{why}; this is not visible here" + (
            f". In this guest {own}" if own else ""
        )
    why_not = lock.why_no_traps()
    if why_not:
        own = facts.bus_locks
        return Exposure.NONE, f"{why_not}, so no VM is put to sleep" + (f"; but {own}" if own else "")
    if facts.generation is None:
        return Exposure.NONE, "this kernel has no split-lock detection for guests"
    if lock.mode == "fatal":
        return Exposure.KILLS, "split_lock_detect=fatal: a guest's split lock ends its VMM with SIGBUS"
    if not facts.generation.sleeps:
        return Exposure.NONE, "this kernel logs split locks, but has no penalty for them"
    if lock.mitigate == 0:
        return Exposure.NONE, "kernel.split_lock_mitigate=0: split locks trap, but are not penalized"
    limit = ms(facts.penalty.always_completes_above_ns)
    return (
        Exposure.FREEZES,
        f"a split lock puts its vCPU to sleep, and signals {limit} ms or less apart can prevent its progress"
        + (", unless a live patch has changed that" if facts.replaced else ""),
    )


def checks(facts: Facts, distribution: Distribution) -> list[Check]:
    """All checks of exposure."""
    found = [cpu(facts), mode(facts, distribution)]
    if facts.mitigate_option:
        found.append(mitigate_option(facts, distribution))
    if facts.replaced:
        found.append(live_patch(facts))
    found += [behaviour(facts), sysctl(facts), bus_locks(facts, distribution), kvm_module(facts)]
    return found if facts.log.readable else [*found, unreadable_log()]


def cpu(facts: Facts) -> Check:
    """Does the CPU raise #AC for split locks?"""
    name = facts.cpu.get("model name", "an unknown CPU")
    data = {
        "model": name,
        "vendor": facts.cpu.get("vendor_id", "unknown"),
        "detects_split_locks": facts.lock.detects_split_locks,
        "detects_bus_locks": facts.lock.detects_bus_locks,
        "is_a_guest": "hypervisor" in facts.flags,
    }
    if facts.lock.detects_split_locks:
        return Check("cpu", State.NOTE, f"{name}: raises #AC for split locks", (), data)
    if facts.log.failed:
        text = f"{name}: detects split locks, but the kernel could not write MSR_TEST_CTRL (from its log)"
    elif data["is_a_guest"]:
        text = f"{name}, inside a virtual machine, where the kernel does not use split-lock detection"
        if facts.lock.detects_bus_locks:
            text += "; it has bus_lock_detect (#DB for bus locks of programs)"
    elif facts.lock.detects_bus_locks:
        text = f"{name}: no #AC for split locks; #DB for bus locks of programs"
    else:
        text = f"{name}: no split-lock detection (the flag split_lock_detect is missing in /proc/cpuinfo)"
    return Check("cpu", State.OK, text, (), data)


def mode(facts: Facts, distribution: Distribution) -> Check:
    """The mode chosen at boot, by the command line and by the kernel's log."""
    log = facts.log
    data = {
        "mode": facts.lock.mode,
        "command_line": facts.cmdline_mode,
        "log": log.mode,
        "log_lines": log.lines,
    }
    if facts.lock.mode == "unsupported":
        return Check("boot mode", State.OK, "split_lock_detect has no effect on this CPU", (), data)
    text = f"split_lock_detect={facts.lock.mode}"
    if log.mode and log.mode != facts.cmdline_mode:
        text += f" by the kernel's log, although the command line says {facts.cmdline_mode}"
    elif log.mode:
        text += ", confirmed by the kernel's log"
    elif not log.readable:
        text += " by the command line; the kernel's log cannot be read"
    elif not log.begins:
        text += " by the command line; the kernel's log no longer has the boot in it"
    else:
        text += " by the command line; the kernel's log has no line about it"
    if facts.lock.why_no_traps() and facts.lock.mode != "warn":
        return Check("boot mode", State.OK, text, (), data)
    off = Fix(
        distribution.boot_option("split_lock_detect=off"),
        "a reboot; split locks are not detected, and any guest can slow down the whole host with them",
    )
    return Check("boot mode", State.NOTE, text, (off,) if facts.lock.detects_split_locks else (), data)


def behaviour(facts: Facts) -> Check:
    """The handler of this kernel, and how long its penalty is."""
    penalty = facts.penalty
    data = {
        "release": kernel.release(),
        "generation": facts.generation.name if facts.generation else None,
        "tick_ns": penalty.tick_ns,
        "penalty": None
        if not (facts.generation and facts.generation.sleeps)
        else {
            "shortest_ns": penalty.shortest_sleep_ns,
            "longest_ns": penalty.longest_sleep_ns,
            "always_early_below_ns": penalty.always_early_below_ns,
            "always_completes_above_ns": penalty.always_completes_above_ns,
            "by_version": penalty.known,
        },
    }
    text = f"Linux {kernel.release()}, HZ={round(1e9 / penalty.tick_ns)}: "
    if facts.generation is None:
        return Check("kernel", State.OK, text + "has no handler for split locks of guests", (), data)
    if not facts.generation.sleeps:
        return Check("kernel", State.OK, text + "has no penalty for split locks", (), data)
    if not facts.penalizes:
        fatal = facts.lock.mode == "fatal" and facts.lock.detects_split_locks
        why = "sends SIGBUS instead (fatal)" if fatal else "no split lock traps here"
        return Check("kernel", State.OK, f"{text}has a penalty, but {why}", (), data)
    text += (
        f"sleeps {ms(penalty.shortest_sleep_ns)} to {ms(penalty.longest_sleep_ns)} ms for a split lock; "
        f"a vCPU completes the sleep if its signals are more than {ms(penalty.always_completes_above_ns)} ms "
        "apart"
        + (
            f", never at {ms(penalty.always_early_below_ns)} ms or less"
            if penalty.always_early_below_ns
            else ""
        )
    )
    if facts.penalty.shared_reenable:
        text += "; with mitigate=0 the re-enable may be late on other CPUs (before 6.15)"
    return Check("kernel", State.NOTE, text, (), data)


def live_patch(facts: Facts) -> Check:
    """Is the penalty that of another kernel? Its version does not say it, and the probes may not see it."""
    text = (
        f"{livepatch.sentence(facts.replaced)}: whether its penalty can prevent progress is not visible "
        "here, and a recording may lack its sleeps and waits"
    )
    fix = Fix("sldtrace probe --livelock", "executes split locks for some seconds")
    return Check("live patch", State.UNKNOWN, text, (fix,), {"replaced": dict(facts.replaced)})


def sysctl(facts: Facts) -> Check:
    """Is the penalty switched on?"""
    name, value = "kernel.split_lock_mitigate", facts.lock.mitigate
    data = {"mitigate": value}
    if value is None:
        missing = f"there is no {name} (before 6.2)"
        if facts.generation and facts.generation.sleeps:
            return Check("sysctl", State.NOTE, f"{missing}: the penalty cannot be switched off", (), data)
        return Check("sysctl", State.OK, missing, (), data)
    if not facts.penalizes:
        fatal = facts.lock.mode == "fatal" and facts.lock.detects_split_locks
        why = "split_lock_detect=fatal sends SIGBUS" if fatal else "no split lock traps (#AC)"
        text = f"{name}={value} has no effect here: {why}"
        also = ", and it does not apply to bus locks (#DB)" if facts.bus_locks else ""
        return Check("sysctl", State.OK, text + also, (), data)
    if value == 0:
        return Check("sysctl", State.OK, f"{name}=0: no penalty", (), data)
    cost = "any VM or program here can then take split locks, and slow down memory for all others"
    if facts.penalty.shared_reenable:
        cost += "; before 6.15 the re-enable may be late on other CPUs"
    fixes: tuple[Fix, ...] = ()
    if facts.lock.mode == "warn" and facts.lock.detects_split_locks:
        keep = "echo kernel.split_lock_mitigate=0 > /etc/sysctl.d/90-split-lock.conf"
        fixes = (Fix(f"sysctl {name}=0", cost), Fix(keep, "the same at each boot"))
    return Check(
        "sysctl", State.NOTE if fixes else State.OK, f"{name}={value}: the penalty is on", fixes, data
    )


def mitigate_option(facts: Facts, distribution: Distribution) -> Check:
    """split_lock_mitigate on the kernel's command line, where it does nothing."""
    text = "split_lock_mitigate on the kernel's command line has no effect: it is a sysctl, not an option"
    fix = Fix(
        distribution.boot_option("sysctl.kernel.split_lock_mitigate=0"),
        "a reboot (since Linux 5.8); without one: sysctl kernel.split_lock_mitigate=0",
    )
    if not facts.penalizes:
        return Check("command line", State.NOTE, f"{text}; nor has the sysctl an effect here")
    return Check("command line", State.NOTE, text, (fix,))


def bus_locks(facts: Facts, distribution: Distribution) -> Check:
    """The effect of bus locks of programs (#DB): Intel since Sapphire Rapids, AMD since Zen 5."""
    effect = facts.bus_locks
    data = {"effect": effect}
    if effect is None:
        return Check("bus locks", State.OK, "bus locks of programs (#DB) do not trap here", (), data)
    text = f"{effect}; kernel.split_lock_mitigate does not apply to them"
    fix = Fix(distribution.boot_option("split_lock_detect=off"), "a reboot; bus locks are no longer detected")
    return Check("bus locks", State.NOTE, text, (fix,), data)


def kvm_module(facts: Facts) -> Check:
    """Is KVM loaded?"""
    data = {"module": facts.kvm}
    if facts.kvm:
        return Check("kvm", State.NOTE, f"{facts.kvm} is loaded", (), data)
    wanted = "kvm_amd" if facts.cpu.get("vendor_id") == "AuthenticAMD" else "kvm_intel"
    return Check("kvm", State.NOTE, "KVM is not loaded: no guests run", (Fix(f"modprobe {wanted}"),), data)


def unreadable_log() -> Check:
    """The kernel's log, which confirms the boot mode, cannot be read."""
    return Check("kernel log", State.UNKNOWN, "this user cannot read the kernel's log", (AS_ROOT,))
