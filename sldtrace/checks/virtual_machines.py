"""The running VMs, and the timers whose signals may reach their vCPUs."""

from collections.abc import Iterator, Mapping
from typing import Any

from sldtrace.checks.result import AS_ROOT, Check, Fix, Places, State
from sldtrace.host import peers, signals, timers
from sldtrace.host.timers import PosixTimer
from sldtrace.host.vms import scan
from sldtrace.host.vms.scan import VirtualMachine
from sldtrace.model.penalty import Penalty
from sldtrace.text.phrases import ms, plural

_NO_INTERVAL = "/proc has no interval of a timer: sldtrace record measures it"


def checks(places: Places, penalty: Penalty, freezes: bool, all_visible: bool) -> Iterator[Check]:
    """One check for each VM, then those of the whole host.

    freezes: can a split lock freeze a guest here? all_visible: can this process read the descriptors of all
    processes?
    """
    machines = scan.scan(places.proc)
    for machine in machines:
        posix, polling = timers.posix(machine.tgid, places.proc), peers.connected(machine.tgid, places.proc)
        yield virtual_machine(machine, posix, penalty, freezes, polling)
    yield overview(machines, all_visible)
    yield armed(timers.armed(places.proc / "timer_list"))


def virtual_machine(
    machine: VirtualMachine,
    found: list[PosixTimer] | None,
    penalty: Penalty,
    freezes: bool,
    polling: Mapping[int, str] | None = None,
) -> Check:
    """The VM, and which of its timers send signals to a vCPU thread or to the whole process.

    polling: PID and comm of the processes that are connected to its Unix sockets, None: not known.
    """
    threads = {thread.tid: thread.vcpu for thread in machine.threads}
    sending = [timer for timer in found or () if timer.signals]
    count = len(machine.vcpus) or len(machine.threads)
    data: dict[str, Any] = {
        "tgid": machine.tgid,
        "vmm": machine.description.get("vmm"),
        "vm": machine.description.get("vm"),
        "comm": machine.description.get("comm"),
        "certain": machine.certain,
        "vcpus": list(machine.vcpus),
        "timers": None if found is None else [_timer(timer, threads) for timer in found],
        "connected": None
        if polling is None
        else [{"tgid": pid, "comm": comm} for pid, comm in polling.items()],
    }
    vcpus = plural(count, "vCPU") if count else "vCPUs not visible"
    text = f"{name(machine)}: {vcpus}"
    if polling:
        names = ", ".join(f"{comm or 'a process'} (PID {pid})" for pid, comm in polling.items())
        text += f"; connected to its Unix sockets, such as its monitor: {names}"
    if found is None:
        return Check("vm", State.UNKNOWN, f"{text}; its timers cannot be read", (AS_ROOT,), data)
    if not sending:
        text += "; no POSIX timer sends it signals (setitimer, and signals of other threads, are not visible)"
        return Check("vm", State.OK, text, (), data)
    aims = sorted({_aim(timer, threads) for timer in sending})
    text += f"; POSIX timers send it {', '.join(aims)}; {_NO_INTERVAL}"
    if not freezes:
        return Check("vm", State.NOTE, text, (), data)
    threshold = ms(penalty.always_completes_above_ns)
    text += f". Where signals to a vCPU are {threshold} ms or less apart, a split lock can freeze it"
    fix = Fix(f"sldtrace record --pid {machine.tgid} --duration 30s --output vm.sld")
    return Check("vm", State.NOTE, text, (fix,), data)


def name(machine: VirtualMachine) -> str:
    """The VM's name, VMM and PID."""
    vm = machine.description.get("vm")
    known = (vm.get("name") or vm.get("id") or vm.get("uuid")) if isinstance(vm, dict) else None
    vmm = machine.description.get("vmm") or machine.description.get("comm") or "a VMM"
    text = f"VM {known} ({vmm}, PID {machine.tgid})" if known else f"{vmm} (PID {machine.tgid})"
    return text if machine.certain else f"{text}, by its name only"


def overview(machines: list[VirtualMachine], all_visible: bool) -> Check:
    """How many VMs run, and whether all processes could be read."""
    count = f"{plural(len(machines), 'running VM')} found"
    data = {"count": len(machines), "complete": all_visible}
    if all_visible:
        return Check("running vms", State.OK, count, (), data)
    text = f"{count}; the descriptors of other users' processes cannot be read"
    return Check("running vms", State.UNKNOWN, text, (AS_ROOT,), data)


def armed(found: timers.Armed | None) -> Check:
    """The armed timers of the whole host; the kernel does not name their processes."""
    if found is None:
        text = "timers of setitimer are not visible: /proc/timer_list cannot be read"
        return Check("armed timers", State.UNKNOWN, text, (AS_ROOT,))
    text = (
        f"armed on the whole host: {found.interval} of setitimer or alarm, {found.posix} of timer_create "
        "(the kernel does not name their processes)"
    )
    return Check(
        "armed timers", State.OK, text, (), {"setitimer": found.interval, "timer_create": found.posix}
    )


def _aim(timer: PosixTimer, threads: dict[int, int]) -> str:
    what = signals.name(timer.signal)
    if not timer.to_thread:
        return f"{what} (to the process)"
    vcpu = threads.get(timer.target)
    return f"{what} (to TID {timer.target}" + (f", vCPU {vcpu})" if vcpu is not None else ")")


def _timer(timer: PosixTimer, threads: dict[int, int]) -> dict[str, Any]:
    return {
        "signal": signals.name(timer.signal) if timer.signals else None,
        "notify": timer.notify,
        "to_thread": timer.to_thread,
        "target": timer.target,
        "vcpu": threads.get(timer.target) if timer.to_thread else None,
        "clock": timer.clock,
    }
