"""Does sldtrace record work here: privileges, kernel features, bcc and numpy, memory and disk."""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sldtrace.capture.bpf import bcc
from sldtrace.checks.bootlog import BootLog
from sldtrace.checks.result import AS_ROOT, Check, Fix, Places, State
from sldtrace.errors import SldtraceError
from sldtrace.host import access, bpf, btf, kallsyms, kernel
from sldtrace.host.access import MissingRequirement
from sldtrace.host.distribution import Distribution

# Measured in the lab: 147 MiB at the peak (bcc 0.31), most of it LLVM while it compiles.
_MEMORY_MB = 256
# Some 22 bytes a trap; a thousand traps a second for an hour are 80 MB.
_DISK_MB = 100
_TRACEPOINTS = ("signal:signal_generate", "kvm:kvm_exit", "kvm:kvm_entry", "msr:write_msr")


def checks(places: Places, distribution: Distribution, log: BootLog) -> Iterator[Check]:
    """All checks of recordability; the last one tries it."""
    found = list(_requirements(places, distribution, log))
    yield from found
    missing = [check.name for check in found if check.state is State.PROBLEM]
    yield trial(access.privilege() is None, missing)


def _requirements(places: Places, distribution: Distribution, log: BootLog) -> Iterator[Check]:
    privileged = access.privilege() is None
    yield required("machine", access.machine, os.uname().machine)
    yield required("privilege", access.privilege, "this process can load tracing programs")
    yield lockdown(kernel.lockdown(), log)
    yield tracefs(privileged, places)
    yield required("symbol", access.handler, "handle_guest_split_lock exists")
    yield bpf_programs(privileged, places)
    yield probes(privileged, places)
    yield tracepoints(privileged)
    yield settings(privileged, places)
    yield bcc_module(distribution)
    yield numpy_module(distribution)
    yield pid_namespace(places)
    yield memory(places)
    yield disk(Path.cwd())


def required(name: str, look: Callable[[], MissingRequirement | None], fine: str) -> Check:
    """A check from one of access.REQUIRED; `fine` is the text if nothing is missing."""
    unmet = look()
    if unmet is None:
        return Check(name, State.OK, fine)
    return Check(name, State.PROBLEM, unmet.message, (Fix(unmet.hint),))


def lockdown(mode: str, log: BootLog) -> Check:
    """Does lockdown refuse tracing programs? mode: as of kernel.lockdown; if unknown, the log may say it."""
    if mode == "none":
        return Check("lockdown", State.OK, "no lockdown")
    if mode == "integrity":
        return Check("lockdown", State.OK, "lockdown=integrity, which allows tracing programs")
    if mode == "confidentiality":
        return required("lockdown", access.lockdown, "")
    mount = Fix("mount -t securityfs securityfs /sys/kernel/security")
    if log.locked_down:
        text = (
            f"the kernel's log says: {log.locked_down}; whether that refuses tracing programs is not visible"
        )
        return Check("lockdown", State.UNKNOWN, text, (mount,))
    text = "not visible (/sys/kernel/security is not mounted, or has no lockdown)"
    return Check("lockdown", State.UNKNOWN, text, (mount,))


def trial(privileged: bool, missing: list[str]) -> Check:
    """Loads and attaches all programs of `sldtrace record` by its own code, and removes them at once.

    missing: names of the requirements that are not fulfilled; then it is not tried.
    """
    if not privileged:
        return Check("trial", State.UNKNOWN, "not tried: only a privileged process can", (AS_ROOT,))
    if missing:
        return Check("trial", State.UNKNOWN, f"not tried, because of: {', '.join(missing)}")
    try:
        probes = _attached()
    except SldtraceError as error:
        fixes = (Fix(error.hint),) if error.hint else ()
        return Check("trial", State.PROBLEM, f"sldtrace record cannot start: {error.message}", fixes)
    except OSError as error:
        return Check("trial", State.PROBLEM, f"sldtrace record cannot start: {error.strerror}")
    refused = [f"{each['name']} ({each['detail']})" for each in probes if not each["backend"]]
    data = {"probes": probes}
    done = "the programs of sldtrace record were loaded, attached and removed"
    if refused:
        return Check("trial", State.LIMIT, f"{done}, all but {', '.join(refused)}", (), data)
    return Check("trial", State.OK, f"all {done}", (), data)


# Imported here: it needs numpy, which may be missing.
def _attached() -> list[dict[str, str]]:
    from sldtrace.capture.bpf import probes
    from sldtrace.capture.bpf.filters import Filters
    from sldtrace.capture.bpf.sources import RECENT, Sizes

    loaded = probes.load(Filters(), RECENT, Sizes(), None)
    try:
        loaded.arm()
        return [probe.fact() for probe in loaded.attached]
    finally:
        loaded.close()


def tracefs(privileged: bool, places: Places) -> Check:
    """Is tracefs mounted? Without root only the mount is visible, not its contents."""
    path = kernel.tracefs()
    if path is not None:
        return Check("tracefs", State.OK, f"tracefs is mounted on {path}", (), {"path": str(path)})
    if not privileged:
        try:
            mounts = (places.proc / "mounts").read_text(errors="replace").splitlines()
        except OSError:
            mounts = []
        for line in mounts:
            fields = line.split(" ")
            if len(fields) > 2 and fields[2] == "tracefs":
                text = f"tracefs is mounted on {fields[1]}, and readable by root"
                return Check("tracefs", State.OK, text, (), {"path": fields[1]})
    return required("tracefs", access.tracefs, "")


def bpf_programs(privileged: bool, places: Places) -> Check:
    """Does the kernel load a program? Tried with one of two instructions."""
    unprivileged = bpf.unprivileged(places.proc / "sys/kernel/unprivileged_bpf_disabled")
    data = {"unprivileged_bpf_disabled": unprivileged, "refused": None}
    if unprivileged is None:
        text = "this kernel has no bpf system call (CONFIG_BPF_SYSCALL)"
        return Check("bpf", State.PROBLEM, text, (Fix("boot a kernel with CONFIG_BPF_SYSCALL=y"),), data)
    if not privileged:
        text = "only a privileged process can try whether the kernel loads tracing programs"
        return Check("bpf", State.UNKNOWN, text, (AS_ROOT,), data)
    refused = bpf.refusal()
    if refused is None:
        return Check(
            "bpf", State.OK, "the kernel loads a program of this process (one of two instructions)", (), data
        )
    text = f"the kernel refuses a tracing program: {refused.strerror}"
    fix = Fix("find what forbids it: a container's seccomp filter, a security module (dmesg | tail)")
    return Check("bpf", State.PROBLEM, text, (fix,), {**data, "refused": refused.strerror})


def probes(privileged: bool, places: Places) -> Check:
    """fentry or kprobe, for each function."""
    wanted = {*kallsyms.WATCHED, kallsyms.BUS_LOCK}
    described = btf.names(wanted)
    present = kallsyms.functions(wanted, places.proc / "kallsyms")
    kprobes = _kprobes(places)
    fentry = sorted(described & present)
    by_kprobe = sorted(present - described)
    missing = [name for name in kallsyms.WATCHED if name not in present]
    data = {
        "btf": btf.exists(),
        "fentry": fentry,
        "kprobe": by_kprobe,
        "missing": missing,
        "kprobes": kprobes,
    }
    parts = [f"fentry for {', '.join(fentry)}"] if fentry else []
    parts += [f"kprobe for {', '.join(by_kprobe)}"] if by_kprobe and kprobes else []
    text = "; ".join(parts) or "nothing"
    if by_kprobe and not kprobes:
        text += f"; kprobes are not available, and {', '.join(by_kprobe)} cannot be probed by fentry"
        lost = {kallsyms.HANDLER, "msleep_interruptible"} & set(by_kprobe)
        fix = Fix("boot a kernel with CONFIG_KPROBE_EVENTS=y, or one with CONFIG_DEBUG_INFO_BTF=y")
        if _read(places.sys / "kernel/debug/kprobes/enabled") == "0":
            fix = Fix("echo 1 > /sys/kernel/debug/kprobes/enabled")
        return Check("probes", State.PROBLEM if lost else State.LIMIT, text, (fix,), data)
    if _read(places.proc / "sys/kernel/ftrace_enabled") == "0" and fentry:
        text += "; function tracing is switched off, so the kernel may refuse fentry"
        return Check("probes", State.LIMIT, text, (Fix("sysctl kernel.ftrace_enabled=1"),), data)
    unmet = access.type_information()
    if unmet is not None:
        return Check("probes", State.LIMIT, f"{text}: {unmet.message}", (Fix(unmet.hint),), data)
    if missing:
        return Check("probes", State.LIMIT, f"{text}; this kernel has no {', '.join(missing)}", (), data)
    if not kprobes:
        text += "; kprobes are not available as a fallback"
    return Check("probes", State.OK, text, (), data)


# The event source by which kprobes are attached, and the switch of all kprobes.
def _kprobes(places: Places) -> bool:
    switch = _read(places.sys / "kernel/debug/kprobes/enabled")
    return (places.sys / "bus/event_source/devices/kprobe").exists() and switch != "0"


def tracepoints(privileged: bool) -> Check:
    """The tracepoints of signals, VM exits and MSR writes."""
    if kernel.tracefs() is None:
        text = "tracepoints are not visible without tracefs"
        return Check("tracepoints", State.UNKNOWN, text, () if privileged else (AS_ROOT,))
    missing = [name for name in _TRACEPOINTS if not kernel.has_tracepoint(*name.split(":"))]
    data = {"missing": missing}
    if not missing:
        return Check("tracepoints", State.OK, f"{', '.join(_TRACEPOINTS)} exist", (), data)
    unmet = access.kvm() if any(name.startswith("kvm:") for name in missing) else None
    text = f"missing: {', '.join(missing)}" + (f" ({unmet.message})" if unmet else "")
    fixes = (Fix(unmet.hint),) if unmet else ()
    return Check("tracepoints", State.LIMIT, text, fixes, data)


def settings(privileged: bool, places: Places) -> Check:
    """Security settings, and which of them restrict this process."""
    names = ("unprivileged_bpf_disabled", "perf_event_paranoid", "kptr_restrict", "dmesg_restrict")
    values = {name: _read(places.proc / "sys/kernel" / name) for name in names}
    shown = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
    unmet = access.perf_events(places.proc / "sys/kernel/perf_event_paranoid") if privileged else None
    if unmet is not None:
        return Check("settings", State.LIMIT, f"{shown}: {unmet.message}", (Fix(unmet.hint),), values)
    if privileged:
        text = f"{shown}: none of them restricts a process with these capabilities"
    else:
        text = f"{shown}: they restrict unprivileged processes; recording needs no change of them"
    return Check("settings", State.OK, text, (), values)


def bcc_module(distribution: Distribution) -> Check:
    """Can this Python import bcc, and from where?"""
    venv = sys.prefix != sys.base_prefix
    data = {"python": sys.executable, "virtual_environment": venv, "path": None, "version": None}
    try:
        with bcc.quiet():
            module = bcc.load()
    except SldtraceError as error:
        return _without_bcc(error.message, data, distribution)
    version = getattr(module, "__version__", None)
    path = str(module.__file__)
    data |= {"path": path, "version": version}
    return Check("bcc", State.OK, f"bcc {version or 'of unknown version'} from {path}", (), data)


def _without_bcc(message: str, data: dict[str, object], distribution: Distribution) -> Check:
    others = _bcc_elsewhere()
    fix = Fix(distribution.install("bcc"))
    text = message
    if others:
        text += f"; it is installed for another Python: {others[0]}. This is {sys.executable}"
        fix = Fix(
            "python3 -m venv --system-site-packages DIR with the distribution's own python3, sldtrace in it"
        )
    elif data["virtual_environment"]:
        text += f"; this is a virtual environment ({sys.prefix}), and PyPI's bcc is another package"
    return Check("bcc", State.PROBLEM, text, (fix,), {**data, "elsewhere": others})


def _bcc_elsewhere() -> list[str]:
    roots = (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"))
    return sorted(
        str(found)
        for root in roots
        for kind in ("dist-packages", "site-packages")
        for found in root.glob(f"python3*/{kind}/bcc")
    )


def numpy_module(distribution: Distribution) -> Check:
    """numpy writes the recording."""
    try:
        module = importlib.import_module("numpy")
    except ImportError as error:
        fixes = (Fix(f"{sys.executable} -m pip install numpy"), Fix(distribution.install("numpy")))
        return Check("numpy", State.PROBLEM, f"numpy cannot be imported: {error}", fixes)
    return Check("numpy", State.OK, f"numpy {module.__version__}", (), {"version": module.__version__})


def pid_namespace(places: Places) -> Check:
    """Is this the initial PID namespace? BPF programs get its PIDs."""
    try:
        here = os.readlink(places.proc / "self/ns/pid")
    except OSError:
        return Check("pid namespace", State.UNKNOWN, "the PID namespace cannot be read", (AS_ROOT,))
    # PROC_PID_INIT_INO, include/linux/proc_ns.h
    if here == "pid:[4026531836]":
        return Check("pid namespace", State.OK, "not in a container's PID namespace")
    text = "in a container's PID namespace: recordings have the host's PIDs, by which no names are found here"
    return Check("pid namespace", State.LIMIT, text, (Fix("run sldtrace on the host itself"),))


def memory(places: Places) -> Check:
    """Is there enough memory for LLVM?"""
    try:
        lines = (places.proc / "meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return Check("memory", State.UNKNOWN, "/proc/meminfo has no free memory")
    data = {"available_mb": available, "needed_mb": _MEMORY_MB}
    if available >= _MEMORY_MB:
        return Check("memory", State.OK, f"{available:,} MB of memory available", (), data)
    text = f"{available:,} MB of memory available; compiling the probes takes up to {_MEMORY_MB} MB"
    return Check("memory", State.LIMIT, text, (Fix("free some memory before recording"),), data)


def disk(folder: Path) -> Check:
    """Is there enough space in the current folder?"""
    try:
        free = shutil.disk_usage(folder).free >> 20
    except OSError as error:
        return Check("disk", State.UNKNOWN, f"free space in {folder} cannot be read: {error.strerror}")
    data = {"folder": str(folder), "free_mb": free, "needed_mb": _DISK_MB}
    text = f"{free:,} MB free in {folder}"
    if free >= _DISK_MB:
        return Check("disk", State.OK, text, (), data)
    return Check(
        "disk", State.LIMIT, text, (Fix("record to another folder: sldtrace record --output"),), data
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
