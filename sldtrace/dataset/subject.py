"""Who a thread is: process, VM and vCPU, and how reports call it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """A thread. All texts are escaped, and empty if unknown."""

    process: str  # name of the process
    tgid: int
    thread: str  # name of the thread
    tid: int
    vcpu: int | None  # vCPU id; None if unknown
    vm: str = ""  # name of the VM, or its id or UUID where it has no name (host.vms.names.Names)
    vm_uuid: str = ""
    vmm: str = ""  # program that runs the VM


def process(who: Subject) -> str:
    """`VM web01 (qemu, PID 182)`; `python3 (PID 182)` of no known VM."""
    if who.vm:
        return f"VM {who.vm} ({who.vmm or who.process or 'unknown VMM'}, PID {who.tgid})"
    return f"{who.process or 'a process'} (PID {who.tgid})"


def thread(who: Subject) -> str:
    """`VM web01 (qemu, PID 182, TID 183)`; `python3 (PID 182)` of no known VM. The TID only if it differs."""
    which = f"PID {who.tgid}" if who.tid == who.tgid else f"PID {who.tgid}, TID {who.tid}"
    if who.vm:
        return f"VM {who.vm} ({who.vmm or who.process or 'unknown VMM'}, {which})"
    return f"{who.process or 'a process'} ({which})"
