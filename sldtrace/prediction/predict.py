"""Predicts what recorded threads would do under another timer, another sysctl or another kernel."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.model import threshold
from sldtrace.model.machine import Fix
from sldtrace.model.penalty import Penalty
from sldtrace.model.simulator import Scene, Simulator, Vcpu
from sldtrace.model.sources import SHORTEST_NS, Kind, Source
from sldtrace.model.thread import Column
from sldtrace.prediction import recorded_penalty
from sldtrace.prediction import thread_profile as profiles
from sldtrace.prediction.thread_profile import Profile
from sldtrace.text import durations
from sldtrace.text.phrases import ms

_ASSUMPTIONS = {
    Fix.UNINTERRUPTIBLE: "signals do not end the penalty. A thread completes its sleep and its wait for the "
    "semaphore, then handles its signals",
    Fix.REMAINING: "jiffies of the penalty that a thread slept count. After an early return its next sleep "
    "is as long as what was left, and when none are left it takes the semaphore",
    Fix.EARLY_RETURNS: "after that many early returns of a thread in a row, its next split lock switches "
    "detection off at once, without a sleep and without the semaphore",
}

_SIMULATED_NS = 10_000_000_000
_LEAST_NS = 250_000_000
_SIGNALS = 2_000_000
_SIGNALS_OF_FIX = 200_000  # each by itself, which takes longer
_FORMS = (
    "timer=20ms, timer=none, mitigate=0, mitigate=1, mode=off, mode=warn, mode=fatal, fix=uninterruptible, "
    "fix=remaining and fix=early-returns:3; with commas between, all at once; and modes by itself"
)
_MITIGATE = re.compile(r"mitigate=([01])")
_MODE = re.compile(r"mode=(off|warn|fatal)")
_FIX = re.compile(r"fix=(uninterruptible|remaining)|fix=early-returns:([1-9]\d{0,5})")


@dataclass(frozen=True)
class WhatIf:
    """A change: timer_ns None keeps the timers, 0 removes them; mitigate None keeps the sysctl, mode None it.

    A thread of which no signal was seen gets no timer.
    """

    text: str = "as recorded"
    timer_ns: int | None = None
    mitigate: int | None = None
    mode: str | None = None  # split_lock_detect=
    fix: Fix | None = None
    early_returns: int = 0  # of Fix.EARLY_RETURNS

    @property
    def assumed(self) -> str | None:
        """What the prediction assumes of the kernel, in a sentence; None: nothing but what was recorded."""
        if self.fix is None:
            return None
        return (
            f"fix={self.fix.value}: {_ASSUMPTIONS[self.fix]}; all else is as in the recorded kernel. No such "
            "kernel exists yet."
        )


@dataclass(frozen=True)
class Prediction:
    """What one thread would do; rates and share are those of the simulation."""

    profile: Profile
    progress: str  # yes, no, or chance: the time from trap to signal is within one jiffy of the threshold
    reason: str  # of `progress`
    traps_per_s: float
    detection_off_per_s: float  # penalties after which the thread made progress
    penalty_share: float  # time slept or waited, of all time


def parse(text: str) -> WhatIf:
    """A change as the user writes it; raises UsageError."""
    found = WhatIf(text)
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name == "timer" and value:
            found = dataclasses.replace(found, timer_ns=_timer(value))
        elif mitigate := _MITIGATE.fullmatch(part.strip()):
            found = dataclasses.replace(found, mitigate=int(mitigate[1]))
        elif mode := _MODE.fullmatch(part.strip()):
            found = dataclasses.replace(found, mode=mode[1])
        elif fix := _FIX.fullmatch(part.strip()):
            kind, count = fix.groups()
            found = dataclasses.replace(
                found, fix=Fix(kind) if kind else Fix.EARLY_RETURNS, early_returns=int(count or 0)
            )
        else:
            raise UsageError(f"'{text}' is no change that can be predicted", f"there are {_FORMS}")
    return found


def _timer(value: str) -> int:
    if value.isdecimal():
        raise UsageError(f"timer={value}: in which unit?", f"write timer={value}ms or timer={value}us")
    try:
        period = 0 if value == "none" else durations.parse(value)
    except ValueError as error:
        raise UsageError(str(error), f"there are {_FORMS}") from error
    if value != "none" and period < SHORTEST_NS:
        shortest = durations.render(SHORTEST_NS)
        raise UsageError(f"a timer of {value} is too short to be predicted", f"take {shortest} or more")
    return period


def run(trace: Trace, change: WhatIf, more: Sequence[Profile] = ()) -> list[Prediction]:
    """What each recorded thread would do; raises SldtraceError where that kernel cannot be changed so.

    more: threads that did not trap, at the same time.
    """
    penalty = _changed(recorded_penalty.penalty(trace), change)
    threads = [*profiles.profile_threads(trace), *more]
    if not threads:
        return []
    vcpus = [_vcpu(each, change) for each in threads]
    cpus = sorted({vcpu.cpu for vcpu in vcpus})
    number = {cpu: index for index, cpu in enumerate(cpus)}
    cores = [trace.core(cpu) for cpu in cpus]
    scene = Scene(
        penalty,
        [dataclasses.replace(vcpu, cpu=number[vcpu.cpu]) for vcpu in vcpus],
        [cores.index(core) for core in cores],
        fix=change.fix,
        early_returns=change.early_returns,
    )
    return _play(scene, threads)


def _changed(penalty: Penalty, change: WhatIf) -> Penalty:
    if change.mode is not None:
        penalty = dataclasses.replace(penalty, mode=change.mode)
    if change.mitigate is None:
        return penalty
    if not penalty.generation.switchable:
        raise SldtraceError(
            f"the recorded kernel has no kernel.split_lock_mitigate ({penalty.generation.name})",
            "the sysctl came with Linux 6.2",
        )
    return dataclasses.replace(penalty, mitigate=change.mitigate)


def _vcpu(profile: Profile, change: WhatIf) -> Vcpu:
    vcpu = profile.simulated
    has_timer = vcpu.source.kind is not Kind.NONE or profile.early_returns
    if change.timer_ns is None or not has_timer:
        return vcpu
    if not change.timer_ns:
        return dataclasses.replace(vcpu, source=Source())
    kind = Kind.PERIODIC if vcpu.source.kind is Kind.PERIODIC else Kind.REARMED
    source = dataclasses.replace(vcpu.source, kind=kind, period_ns=change.timer_ns, to_process=False)
    return dataclasses.replace(vcpu, source=source)


def _play(scene: Scene, threads: list[Profile]) -> list[Prediction]:
    simulator = Simulator(scene)
    periods = [vcpu.source.period_ns for vcpu in scene.vcpus if vcpu.source.period_ns]
    # Many threads with short timers take no longer than a few with long ones.
    room = (
        (_SIGNALS if scene.fix is None else _SIGNALS_OF_FIX)
        * min(periods, default=_SIMULATED_NS)
        // len(threads)
    )
    duration = min(max(room, _LEAST_NS), _SIMULATED_NS)
    traps, detection_off, asleep = (np.zeros(len(threads), np.int64) for _ in range(3))
    for batch in simulator.run(duration, duration // 25):
        for index, rows in enumerate(batch.traps):
            traps[index] += len(rows)
            detection_off[index] += rows[:, Column.DETECTION_OFF].sum()
            asleep[index] += (rows[:, Column.SLEEP_END] - rows[:, Column.SLEEP_BEGIN]).sum()
            asleep[index] += (rows[:, Column.WAIT_END] - rows[:, Column.WAIT_BEGIN]).sum()
    seconds = duration / 1e9
    found = []
    for index, profile in enumerate(threads):
        executed = simulator.executed(simulator.threads[index])
        progress, reason = _verdict(scene, scene.vcpus[index], executed)
        rates = (traps[index] / seconds, detection_off[index] / seconds, asleep[index] / duration)
        found.append(Prediction(profile, progress, reason, *(float(rate) for rate in rates)))
    return found


def _verdict(scene: Scene, vcpu: Vcpu, executed: int) -> tuple[str, str]:
    penalty, source = scene.penalty, vcpu.source
    if not penalty.traps:
        return "yes", "split locks do not trap"
    if penalty.mode == "fatal":
        return "no", "the first split lock ends the VMM by SIGBUS"
    if not penalty.penalizes:
        return "yes", "split locks have no penalty"
    if scene.fix is Fix.UNINTERRUPTIBLE or source.kind in (Kind.NONE, Kind.ONCE):
        return "yes", "no signal ends the penalty"
    reach, slack = threshold.reach_ns(source, vcpu.costs), threshold.slack_ns(source)
    when = f"a signal {ms(reach)} ms into the sleep"
    if reach - slack >= penalty.always_completes_above_ns:
        return "yes", f"{when} is too late to end it early ({ms(penalty.always_completes_above_ns)} ms)"
    if scene.fix is Fix.EARLY_RETURNS:
        return "yes", f"{when} may end it early, but not more than {scene.early_returns:,} times in a row"
    if scene.fix is Fix.REMAINING:
        if executed:
            return "yes", f"{when} may end it early, but the sleeps add up until it is completed"
        return "no", f"{when} ends it early, and the sleeps do not add up to it"
    if reach + slack > penalty.always_early_below_ns:
        low, high = ms(penalty.always_early_below_ns), ms(penalty.always_completes_above_ns)
        return "chance", f"{when} ends it early or not: chance from {low} to {high} ms"
    if executed:
        return "yes", f"{when} ends it early, but penalties of other threads switch detection off on its core"
    return "no", f"{when} always ends it early (up to {ms(penalty.always_early_below_ns)} ms)"
