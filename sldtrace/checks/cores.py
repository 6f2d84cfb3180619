"""What MSR_TEST_CTRL of each core says, and which CPUs share one."""

from sldtrace.checks.result import AS_ROOT, Check, Fix, Places, State
from sldtrace.host import msr
from sldtrace.host.msr import Core
from sldtrace.host.split_lock import SplitLock


def check(lock: SplitLock, places: Places) -> Check:
    """Is detection in the state on every core that the boot mode asks for?"""
    return judge(lock, msr.read(places.dev / "cpu", places.sys / "devices/system/cpu"))


def judge(lock: SplitLock, cores: list[Core]) -> Check:
    """The same from what was read."""
    shared = sum(1 for core in cores if len(core.cpus) > 1)
    layout = f"{len(cores)} {'core' if len(cores) == 1 else 'cores'}" + (
        f" ({shared} with hyperthreads that share their detection)" if shared else ""
    )
    data = {
        "cores": [
            {
                "cpus": core.cpus,
                "detects": core.detects,
                "moments_off": core.moments_off,
                "why_not": core.why_not,
            }
            for core in cores
        ]
    }
    if not lock.detects_split_locks:
        return Check(
            "cores", State.OK, f"{layout}; without split-lock detection there is nothing to read", (), data
        )
    unread = [core for core in cores if core.detects is None]
    if unread:
        why = unread[0].why_not
        fixes = (Fix("modprobe msr"), AS_ROOT) if why.startswith("No such") else (AS_ROOT,)
        return Check("cores", State.UNKNOWN, f"{layout}; MSR_TEST_CTRL cannot be read: {why}", fixes, data)
    expected = lock.why_no_traps() is None
    wrong = [core for core in cores if core.detects is not expected]
    which = "on" if expected else "off"
    if not wrong:
        moments = sum(1 for core in cores if core.moments_off)
        text = f"{layout}; MSR_TEST_CTRL: split-lock detection {which} everywhere"
        if moments:
            text += f", {moments} of which were let go for a moment, as after a split lock that was punished"
        return Check("cores", State.OK, text, (), data)
    names = ", ".join("+".join(map(str, core.cpus)) for core in wrong)
    looks = f"for CPU {names} detection was {'off' if expected else 'on'} in each of several looks"
    if not expected:
        text = f"{layout}; {looks} in a tenth of a second, although split_lock_detect={lock.mode}"
        fix = Fix("perf trace -e msr:write_msr --filter 'msr == 0x33'", "shows who writes the register")
        return Check("cores", State.PROBLEM, text, (fix,), data)
    # The kernel switches it off for two jiffies for each split lock that it lets go.
    text = (
        f"{layout}; {looks} in a tenth of a second: split locks are let go there one after another, or it "
        "was left off"
    )
    fix = Fix("sldtrace record --duration 10s --output cores.sld", "shows who takes them, if anybody does")
    return Check("cores", State.NOTE, text, (fix,), data)
