"""What can be changed against the penalty, and its cost on a given kernel."""

from collections.abc import Sequence

from sldtrace.analyzers.ending_signal import SignalNumbers
from sldtrace.analyzers.finding import Remedy
from sldtrace.analyzers.loops import LoopNumbers
from sldtrace.analyzers.recovery import AT_NEXT_PENALTY, RESTARTED, VERIFY
from sldtrace.dataset.trace import Trace
from sldtrace.model.penalty import Penalty
from sldtrace.text.phrases import ms, plural


def longer_period(penalty: Penalty, found: Sequence[SignalNumbers], where: str) -> Remedy:
    """These signals further apart; where: the VMM or the program."""
    word = "timer" if all(each.made_by in ("timer_create", "setitimer") for each in found) else "signal"
    above = ms(penalty.always_completes_above_ns)
    # At HZ=100 the sleep is one jiffy: no period is too short to complete by chance.
    below = (
        f"none at {ms(penalty.always_early_below_ns)} ms or less, and "
        if penalty.always_early_below_ns
        else ""
    )
    to_process = all(each.to_process for each in found)
    # The kernel gives it to any thread that does not block it (complete_signal).
    block = " Or block them in this thread, if another one can take them." if to_process else ""
    return Remedy(
        f"In the {where}: leave more than {above} ms between the {word}s that reach this thread. On this "
        f"kernel every penalty completes above {above} ms, {below}chance decides in between.{block}",
        f"the work of the {word} is done later; nothing changes for other VMs",
        undo=f"set the {word} as before",
        recovery=RESTARTED,
        verify=VERIFY,
    )


def period_for_all(numbers: LoopNumbers) -> list[Remedy]:
    """Signals so far apart that the wait for the other threads fits in between; none if that is not known."""
    if numbers.least_period_ns is None or numbers.other_threads is None:
        return []
    others = plural(numbers.other_threads, "other thread")
    return [
        Remedy(
            f"In the VMM: leave more than {ms(numbers.least_period_ns)} ms between the signals that reach "
            f"this thread: its sleep, and a turn of each of the {others} that took split locks at that time.",
            "the work of the signal is done later; with more such threads the time is too short again",
            undo="set the signal as before",
            recovery=RESTARTED,
            verify=VERIFY,
        )
    ]


def no_penalty(trace: Trace, penalty: Penalty) -> list[Remedy]:
    """kernel.split_lock_mitigate=0; none where it does not exist or is 0 already."""
    if trace.number("split_lock", "mitigate") != 1:
        return []
    late = ""
    if penalty.shared_reenable:
        late = "; here (Linux before 6.15) detection may come back late on other CPUs"
    return [
        Remedy(
            "On the host, at once: switch the penalty off.",
            "any VM or program on the host may then slow down memory for all others by split locks: the "
            f"penalty prevents that{late}",
            "sysctl kernel.split_lock_mitigate=0",
            undo="sysctl kernel.split_lock_mitigate=1",
            persist="write kernel.split_lock_mitigate=0 into a file in /etc/sysctl.d; delete it to undo that",
            recovery="within a second: each thread at its next split lock, without a restart",
            verify=VERIFY,
        )
    ]


def align(guest: bool) -> Remedy:
    """No split lock, no penalty."""
    return Remedy(
        f"In the {'guest' if guest else 'program'}: align the data of the instruction so that it does "
        "not cross a cache line (64 bytes).",
        "none at run time; the software has to be changed",
        recovery="when the changed software runs",
        verify=VERIFY,
    )


def no_detection() -> Remedy:
    """split_lock_detect=off."""
    return Remedy(
        "On the host, at the next boot: switch split-lock detection off.",
        "a reboot; split locks are not detected, and any guest or program can slow down the whole host with "
        "them",
        "split_lock_detect=off on the kernel's command line",
        undo="the kernel's command line of before, and another boot",
        recovery="after the boot: all VMs of the host stop for it",
        verify=("sldtrace check",),
    )


def fewer_at_once() -> Remedy:
    """The semaphore is one for the host."""
    return Remedy(
        "Place the VMs that take split locks on different hosts: all VMs of a host share one semaphore.",
        "a migration; each thread still sleeps its own penalties",
        undo="move them back",
        recovery="when the migration is done",
        verify=VERIFY,
    )


def pin() -> Remedy:
    """A thread that stays on its core executes the instruction while detection is off there."""
    return Remedy(
        "On the host: pin the vCPU threads, or leave them on one core while they are penalized.",
        "the scheduler can no longer balance them",
        "taskset -pc CPU TID, or the VMM's vCPU pinning",
        undo="taskset -pc TID prints the CPUs of before: set these again",
        persist="the VMM's vCPU pinning: a thread that is created later is not pinned",
        recovery=AT_NEXT_PENALTY,
        verify=VERIFY,
    )
