"""The whole test on the running machine."""

from pathlib import Path

from sldtrace.host import kernel, split_lock
from sldtrace.litmus.code import Lock
from sldtrace.litmus.plan import LIVELOCK, Plan
from sldtrace.litmus.run import End, run
from sldtrace.litmus.verdict import Machine, Result, judge
from sldtrace.litmus.vm import VmLock


def machine(in_vm: bool, proc: Path = Path("/proc")) -> Machine:
    """What is known of this machine; a CPU of a virtual machine has the flag `hypervisor`."""
    flags = split_lock.cpu_fields((proc / "cpuinfo").read_text(errors="replace")).get("flags", "").split()
    return Machine(kernel.release(), kernel.tick_ns(), split_lock.read(proc), "hypervisor" in flags, in_vm)


def measure(locks: int, livelock: bool, in_vm: bool) -> Result:
    """Executes at most that many split locks, and one more under signals. Raises SldtraceError.

    in_vm: in a virtual machine on this one.
    """
    make = VmLock if in_vm else Lock
    outcome = run(Plan(locks), make)
    under_signals = run(LIVELOCK, make) if livelock and outcome.end is End.FINISHED else None
    return judge(machine(in_vm), outcome, under_signals)
