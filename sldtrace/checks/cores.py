"""MSR_TEST_CTRL of each core, and which CPUs share one."""

from sldtrace.checks.result import AS_ROOT, Check, Fix, Places, State
from sldtrace.host import msr
from sldtrace.host.msr import Core
from sldtrace.host.split_lock import SplitLock
from sldtrace.text.phrases import plural


def check(lock: SplitLock, places: Places) -> Check:
    """Is detection on or off on every core as the boot mode requires?"""
    return evaluate(lock, msr.read(places.dev / "cpu", places.sys / "devices/system/cpu"))


def evaluate(lock: SplitLock, cores: list[Core]) -> Check:
    """The check, from the registers that were read."""
    shared = sum(1 for core in cores if len(core.cpus) > 1)
    layout = plural(len(cores), "core") + (
        f" ({shared} with hyperthreads that share one MSR_TEST_CTRL)" if shared else ""
    )
    data = {
        "cores": [
            {
                "cpus": core.cpus,
                "detects": core.detects,
                "sometimes_off": core.sometimes_off,
                "error": core.error,
            }
            for core in cores
        ]
    }
    if not lock.detects_split_locks:
        return Check("cores", State.OK, f"{layout}; this CPU has no split-lock detection", (), data)
    unread = [core for core in cores if core.detects is None]
    if unread:
        why = unread[0].error
        fixes = (Fix("modprobe msr"), AS_ROOT) if why.startswith("No such") else (AS_ROOT,)
        return Check("cores", State.UNKNOWN, f"{layout}; MSR_TEST_CTRL cannot be read: {why}", fixes, data)
    expected = lock.why_no_traps() is None
    wrong = [core for core in cores if core.detects is not expected]
    which = "on" if expected else "off"
    if not wrong:
        paused = sum(1 for core in cores if core.sometimes_off)
        text = f"{layout}; MSR_TEST_CTRL: split-lock detection is {which} on all of them"
        if paused:
            text += f"; on {paused} it was off in some of the reads, as after a penalty"
        return Check("cores", State.OK, text, (), data)
    names = ", ".join("+".join(map(str, core.cpus)) for core in wrong)
    reads = f"on CPU {names} detection was {'off' if expected else 'on'} in {msr.READS} reads within 0.1 s"
    if not expected:
        text = f"{layout}; {reads}, although split_lock_detect={lock.mode}"
        fix = Fix(
            "perf trace -e msr:write_msr --filter 'msr == 0x33'", "shows which task writes the register"
        )
        return Check("cores", State.PROBLEM, text, (fix,), data)
    # The kernel switches it off for two jiffies after each penalty.
    text = f"{layout}; {reads}: either one penalty after another completes there, or detection was left off"
    fix = Fix("sldtrace record --duration 10s --output cores.sld", "shows which threads take split locks")
    return Check("cores", State.NOTE, text, (fix,), data)
