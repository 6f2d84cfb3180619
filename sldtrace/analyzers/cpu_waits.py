"""What is not the penalty: the time in which threads waited for a CPU, or a quota throttled them."""

from collections.abc import Iterable
from dataclasses import dataclass

from sldtrace.analyzers import thresholds
from sldtrace.analyzers.finding import Fact, Remedy
from sldtrace.analyzers.recovery import AT_ONCE, VERIFY
from sldtrace.engine.run_delays import RunDelay
from sldtrace.text.phrases import length, percent


@dataclass(frozen=True)
class CpuWaits:
    """Of the times between two samples of a thread (`schedstat` records); of several threads the sums."""

    sampled_ns: int
    run_delay_ns: int  # runnable, and waiting for a CPU: also while a quota throttles it
    throttled_ns: int  # of run_delay_ns, at most: a quota throttled its cgroup or one above

    @property
    def counts(self) -> bool:
        """Does a finding say it?"""
        return self._is_large(self.run_delay_ns)

    @property
    def quota(self) -> bool:
        """Was a large part of it by a quota?"""
        return self._is_large(self.throttled_ns)

    @property
    def share(self) -> str:
        """Of the time sampled, in words."""
        return percent(self.run_delay_ns, self.sampled_ns)

    def _is_large(self, ns: int) -> bool:
        return ns > 0 and ns >= thresholds.CPU_WAIT_SHARE.value * self.sampled_ns


def measure(threads: Iterable[RunDelay | None]) -> CpuWaits | None:
    """Of these threads; None: none of them was sampled."""
    known = [each for each in threads if each is not None]
    if not known:
        return None
    return CpuWaits(
        sampled_ns=sum(each.sampled_ns for each in known),
        run_delay_ns=sum(each.run_delay_ns for each in known),
        throttled_ns=sum(each.throttled_ns for each in known),
    )


def fact(found: CpuWaits | None) -> list[Fact]:
    """In words; empty where it is little or not known."""
    if found is None or not found.counts:
        return []
    text = f"waited {length(found.run_delay_ns)} for one in {length(found.sampled_ns)} ({found.share})"
    if found.throttled_ns:
        text += f", up to {length(found.throttled_ns)} of it by a quota of the cgroup"
    return [Fact("CPU", text)]


def sentence(found: CpuWaits | None) -> str:
    """What a cause adds where the penalty is not all; empty elsewhere."""
    if found is None or not found.counts:
        return ""
    why = ": other threads had it"
    if found.quota:
        most = 2 * found.throttled_ns >= found.run_delay_ns
        why = f", {'most' if most else 'part'} of it because a quota (cpu.max) throttled the cgroup"
    return (
        f" The penalty is not all: the thread also waited for a CPU for {found.share} of the time{why}. This "
        "does not count as time in penalties."
    )


def remedies(found: CpuWaits | None, tgid: int) -> list[Remedy]:
    """More time on a CPU, where the lack of it counts."""
    if found is None or not found.counts:
        return []
    if found.quota:
        return [
            Remedy(
                "On the host: raise the CPU quota of the cgroup, which throttles this thread.",
                "other cgroups get less CPU time",
                f"cat /proc/{tgid}/cgroup; its cpu.max and cpu.stat, and those of the cgroups above",
                undo="set the quota as before",
                persist="the VMM's configuration of its cgroup: what is written into cpu.max is lost with it",
                recovery=AT_ONCE,
                verify=VERIFY,
            )
        ]
    return [
        Remedy(
            "On the host: leave this thread more CPU time: fewer threads on its CPUs, or a higher weight.",
            "other threads get less CPU time",
            undo="place them as before, with the weight of before",
            recovery=AT_ONCE,
            verify=VERIFY,
        )
    ]
