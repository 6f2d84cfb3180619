"""The whole test on the running machine."""

from pathlib import Path

from sldtrace.host import kernel, split_lock
from sldtrace.litmus.plan import LIVELOCK, Plan
from sldtrace.litmus.run import End, run
from sldtrace.litmus.verdict import Machine, Result, judge


def machine(proc: Path = Path("/proc")) -> Machine:
    """What is known of this machine; a CPU of a virtual machine has the flag `hypervisor`."""
    flags = split_lock.cpu_fields((proc / "cpuinfo").read_text(errors="replace")).get("flags", "").split()
    return Machine(kernel.release(), kernel.tick_ns(), split_lock.read(proc), "hypervisor" in flags)


def measure(locks: int, livelock: bool) -> Result:
    """Executes at most that many split locks, and one more under signals. Raises SldtraceError."""
    outcome = run(Plan(locks))
    under_signals = run(LIVELOCK) if livelock and outcome.end is End.FINISHED else None
    return judge(machine(), outcome, under_signals)
