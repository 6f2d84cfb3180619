"""What `sldtrace record` requires of this host and process, and what is optional."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sldtrace.errors import SldtraceError
from sldtrace.host import btf, kallsyms, kernel

# include/uapi/linux/capability.h
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_PERFMON = 38
CAP_BPF = 39

PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


@dataclass(frozen=True)
class MissingRequirement:
    """A requirement that this host does not fulfil: one line, and what to do about it."""

    message: str
    hint: str


def effective_capabilities(status: Path = Path("/proc/self/status")) -> int:
    """The effective capability set of this process as a bit mask."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    return int(match[1], 16) if match else 0


def may_trace(capabilities: int) -> bool:
    """Can it load tracing programs? With CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON (a17b53c4a4b5)."""
    needed = 1 << CAP_BPF | 1 << CAP_PERFMON
    return bool(capabilities >> CAP_SYS_ADMIN & 1) or capabilities & needed == needed


def perf_events_require_admin(paranoid: Path = PARANOID) -> bool:
    """Does perf_event_open require CAP_SYS_ADMIN, so that CAP_PERFMON is not enough?

    It does where kernel.perf_event_paranoid is above 2, a level that Debian and Ubuntu add. False where the
    setting cannot be read.
    """
    try:
        return int(paranoid.read_text()) > 2
    except (OSError, ValueError):
        return False


def sees_all_processes() -> bool:
    """Can this process read the descriptors of every process (ptrace_may_access)?"""
    return bool(effective_capabilities() >> CAP_SYS_PTRACE & 1)


# Required: nothing can be recorded without it.


def machine() -> MissingRequirement | None:
    """x86-64: split-lock detection exists on x86 only, and the probes are written for that."""
    name = os.uname().machine
    if name == "x86_64":
        return None
    return MissingRequirement(f"this is an {name} machine", "split-lock detection exists on x86 only")


def privilege() -> MissingRequirement | None:
    """The capabilities to load tracing programs."""
    if may_trace(effective_capabilities()):
        return None
    return MissingRequirement("recording needs the right to trace the kernel", "run it as root")


def lockdown() -> MissingRequirement | None:
    """Lockdown below confidentiality, which refuses kprobes, tracefs and reads of kernel memory."""
    if kernel.lockdown() != "confidentiality":
        return None
    return MissingRequirement(
        "the kernel is locked down (confidentiality) and refuses tracing programs",
        "boot with lockdown=integrity or less",
    )


def tracefs() -> MissingRequirement | None:
    """tracefs: where the layouts of tracepoints are read."""
    if kernel.tracefs() is not None:
        return None
    return MissingRequirement("tracefs is not mounted", "mount -t tracefs tracefs /sys/kernel/tracing")


def handler() -> MissingRequirement | None:
    """The kernel function that handles the split locks of guests."""
    if kallsyms.HANDLER in kallsyms.generation_symbols():
        return None
    return MissingRequirement(
        f"kernel {kernel.release()} has no function {kallsyms.HANDLER}",
        "split-lock detection needs Linux 5.7 or later on x86 with CONFIG_CPU_SUP_INTEL",
    )


REQUIRED = (machine, privilege, lockdown, tracefs, handler)


def require() -> None:
    """Raises SldtraceError, with what to do, if a requirement is missing."""
    for look in REQUIRED:
        missing = look()
        if missing is not None:
            raise SldtraceError(missing.message, f"{missing.hint}; sldtrace check lists all requirements")


# Optional: a recording without it has less in it.


def kvm() -> MissingRequirement | None:
    """KVM's tracepoints: the source of VM exits and vCPU ids."""
    if kernel.has_tracepoint("kvm", "kvm_exit"):
        return None
    return MissingRequirement(
        "KVM is not loaded: no VM exits and no vCPU ids will be recorded", "modprobe kvm_intel"
    )


def type_information() -> MissingRequirement | None:
    """BTF, which fentry requires."""
    if btf.exists():
        return None
    return MissingRequirement(
        "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF): using kprobes, which cost more",
        "boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
    )


def perf_events(paranoid: Path = PARANOID) -> MissingRequirement | None:
    """perf_event_open, which attaches tracepoints and kprobes (but not fentry and raw tracepoints)."""
    if effective_capabilities() >> CAP_SYS_ADMIN & 1 or not perf_events_require_admin(paranoid):
        return None
    return MissingRequirement(
        "kernel.perf_event_paranoid is above 2, which refuses tracepoints and kprobes to a process"
        " without CAP_SYS_ADMIN: no VM exits, no vCPU ids, no SRCU waits; without BTF no signals either",
        "sysctl kernel.perf_event_paranoid=2, or add CAP_SYS_ADMIN",
    )


OPTIONAL = (kvm, type_information, perf_events)
