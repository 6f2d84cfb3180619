"""What can be changed against the penalty, and what each of it costs on a given kernel."""

import signal

from sldtrace.analyzers.finding import Remedy
from sldtrace.analyzers.signal_owner import SignalNumbers
from sldtrace.dataset.trace import Trace
from sldtrace.host.signals import Code
from sldtrace.model.penalty import Penalty
from sldtrace.text.phrases import ms, plural

_TIMER_SIGNALS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)


def longer_period(penalty: Penalty, found: SignalNumbers | None, where: str) -> Remedy:
    """Signals further apart; where: the VMM or the program."""
    is_timer = found and (found.code == Code.SI_TIMER or found.number in _TIMER_SIGNALS)
    word = "timer" if is_timer else "signal"
    alive = ms(penalty.always_completes_above_ns)
    # At HZ=100 the sleep is one jiffy: no period is too short to get through by luck.
    dead = (
        f"nothing at {ms(penalty.always_early_below_ns)} ms or less, and "
        if penalty.always_early_below_ns
        else ""
    )
    return Remedy(
        f"In the {where}: leave more than {alive} ms between the {word}s that reach this thread. On this "
        f"kernel everything gets through above {alive} ms, {dead}chance decides in between.",
        f"what the {word} is for happens later; nothing changes for others",
    )


def period_of(least_period_ns: int, other_threads: int) -> Remedy:
    """Signals so far apart that the wait for all the others fits in between as well."""
    others = plural(other_threads, "other thread")
    return Remedy(
        f"In the VMM: leave more than {ms(least_period_ns)} ms between the signals that reach "
        f"this thread: its sleep, and a turn of each of the {others} that took split locks meanwhile.",
        "what the signal is for happens later; with more such threads it is too short again",
    )


def no_penalty(trace: Trace, penalty: Penalty) -> list[Remedy]:
    """kernel.split_lock_mitigate=0, where it exists and is not so yet."""
    if trace.number("split_lock", "mitigate") != 1:
        return []
    late = "; before 6.15 detection may come back late on other CPUs" if penalty.shared_reenable else ""
    return [
        Remedy(
            "On the host, at once: do not punish split locks.",
            "any VM or program here may then take split locks for the cost of one trap in two jiffies, "
            "and "
            "slow down memory for all the others: the attack that the penalty is there to stop"
            f"{late}",
            "sysctl kernel.split_lock_mitigate=0",
        )
    ]


def align(guest: bool) -> Remedy:
    """No split lock, no penalty."""
    return Remedy(
        f"In the {'guest' if guest else 'program'}: align the data of the instruction so that it does "
        "not cross a cache line (64 bytes).",
        "none at run time; the software has to be changed",
    )


def no_detection() -> Remedy:
    """split_lock_detect=off."""
    return Remedy(
        "On the host, at the next boot: no split-lock detection.",
        "a reboot; split locks go unnoticed, and anybody can slow down the whole host with them",
        "split_lock_detect=off on the kernel's command line",
    )


def fewer_at_once() -> Remedy:
    """The semaphore is one for the host."""
    return Remedy(
        "Place the VMs that take split locks on different hosts: all of one host share one semaphore.",
        "a migration; each still serves its own penalties",
    )


def pin() -> Remedy:
    """A thread that stays where detection is off uses what it was punished for."""
    return Remedy(
        "On the host: pin the vCPU threads, or leave them on one core while they are punished.",
        "the scheduler can no longer balance them",
        "taskset -pc CPU TID, or the VMM's vCPU pinning",
    )
