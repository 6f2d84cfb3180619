"""The expected result of a sweep over timers: loops a second by the model, scaled by the guest's speed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Protocol

from sldtrace.model.penalty import Penalty
from sldtrace.model.simulator import Scene, Simulator, Vcpu
from sldtrace.model.sources import SHORTEST_NS, Kind, Source
from sldtrace.model.thread import Costs

_SIMULATED_NS = 2_000_000_000
_JITTER_NS = 3_000


class Measured(Protocol):
    """A run with one timer: its period, how long it ran, calls of KVM_RUN, completed loops."""

    @property
    def timeout_ns(self) -> int: ...
    @property
    def ran_ns(self) -> int: ...
    @property
    def kvm_runs(self) -> int: ...
    @property
    def loops(self) -> int: ...


@dataclass(frozen=True)
class Curve:
    """The model of one guest on one host.

    kind: how its timer is armed; costs: of its monitor; speed: loops a second without penalties, None if it
    could not be measured.
    """

    kind: Kind
    costs: Costs
    speed: float | None

    def rate(self, penalty: Penalty, timeout_ns: int) -> float | None:
        """Loops a second with this timer, on average; None where the speed is not known."""
        return None if self.speed is None else self.speed * self.share(penalty, timeout_ns)

    def share(self, penalty: Penalty, timeout_ns: int) -> float:
        """The share of its time in which the guest, which executes only split locks, makes progress."""
        source = Source(self.kind, max(timeout_ns, SHORTEST_NS), _JITTER_NS)
        simulator = Simulator(Scene(penalty, [Vcpu(source, self.costs)]))
        for _ in simulator.run(_SIMULATED_NS):
            pass
        return simulator.executed(simulator.threads[0]) * self.costs.spacing_ns / _SIMULATED_NS


def fit(runs: Sequence[tuple[Penalty, Measured]], kind: Kind) -> Curve:
    """The model for these runs, each with its penalty.

    Two numbers come from the measurement, none of them about the penalty: the time from a signal to the next
    KVM_RUN (time of a KVM_RUN beyond its timer, in the run with most of them), and the speed (median over the
    runs in which the guest made progress, and not by chance).
    """
    costs = Costs()
    most = max((run for _, run in runs), key=lambda run: run.kvm_runs, default=None)
    if kind is Kind.REARMED and most is not None and most.kvm_runs:
        beyond = round(most.ran_ns / most.kvm_runs) - most.timeout_ns
        costs = replace(costs, outside_ns=max(1_000, beyond - costs.wake_ns))
    curve = Curve(kind, costs, None)
    speeds = []
    for penalty, run in runs:
        by_luck = by_chance(penalty, run.timeout_ns)
        if run.loops and not by_luck and (share := curve.share(penalty, run.timeout_ns)):
            speeds.append(run.loops / run.ran_ns * 1e9 / share)
    return replace(curve, speed=median(speeds)) if speeds else curve


def by_chance(penalty: Penalty, timeout_ns: int) -> bool:
    """Whether the position of the ticks decides if a guest with this timer makes progress (see `Penalty`)."""
    return (
        penalty.penalizes and penalty.always_early_below_ns < timeout_ns <= penalty.always_completes_above_ns
    )
