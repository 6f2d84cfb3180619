"""A sweep beside the model: for each setting of the penalty the measured points and the predicted line."""

from collections.abc import Sequence
from dataclasses import dataclass

from sldtrace.model import curve, penalty
from sldtrace.model.penalty import Penalty
from sldtrace.model.sources import Kind
from sldtrace.text.durations import render
from sldtrace.vmm import kicks
from sldtrace.vmm.swept import Point, Sweep

_LINE_POINTS = 120


@dataclass(frozen=True)
class Series:
    """One setting. line: (timer in ns, loops a second), empty where the model cannot be scaled."""

    penalty: Penalty
    points: Sequence[Point]
    predicted: Sequence[float | None]
    line: Sequence[tuple[int, float]]

    @property
    def penalizes(self) -> bool:
        """Whether the kernel makes split locks sleep in this setting."""
        return self.penalty.penalizes

    @property
    def name(self) -> str:
        """What tells it from the others of its sweep, in words."""
        if not self.penalty.traps:
            return f"no trap ({self.penalty.mode})"
        if self.penalty.mitigate is None:
            return "penalty" if self.penalizes else "no penalty"
        return (
            f"{'penalty' if self.penalizes else 'no penalty'} (split_lock_mitigate={self.penalty.mitigate})"
        )


@dataclass(frozen=True)
class Figure:
    """One sweep. chance_ns: the timers between which the position of the ticks decides; None: no penalty."""

    sweep: Sweep
    series: Sequence[Series]
    chance_ns: tuple[int, int] | None

    @property
    def longest_ns(self) -> int:
        """The longest timer."""
        return max((point.timeout_ns for point in self.sweep.points), default=1)

    @property
    def top(self) -> float:
        """The highest rate, measured or predicted; above 0."""
        rates = [point.rate for one in self.series for point in one.points]
        rates += [rate for one in self.series for _, rate in one.line]
        return max(rates, default=0.0) or 1.0

    @property
    def note(self) -> str:
        """How it was measured, in one line."""
        how = (
            "armed anew for each KVM_RUN" if self.sweep.kick is kicks.Kind.TIMER else f"by {self.sweep.kick}"
        )
        return f"guest {self.sweep.guest}, {render(self.sweep.duration_ns)} a point, timer {how}"


def figure(sweep: Sweep) -> Figure:
    """The sweep with its model, which is a second's work."""
    kind = Kind.REARMED if sweep.kick is kicks.Kind.TIMER else Kind.PERIODIC
    mode = sweep.mode if sweep.splits else "off"  # what takes no split lock does not trap
    penalties = {
        value: penalty.for_kernel(sweep.release, sweep.tick_ns, mode=mode, mitigate=value)
        for value in sweep.settings
    }
    # What a guest does that takes a split lock now and then is not what the model plays.
    known = [] if sweep.every else [(penalties[point.mitigate], point) for point in sweep.points]
    model = curve.fit(known, kind)
    found = []
    for value, rules in penalties.items():
        points = sorted((p for p in sweep.points if p.mitigate == value), key=lambda p: p.timeout_ns)
        predicted = [model.rate(rules, point.timeout_ns) for point in points]
        line = [
            (timer, rate) for timer in _grid(points, rules) if (rate := model.rate(rules, timer)) is not None
        ]
        found.append(Series(rules, points, predicted, line))
    penalized = [one.penalty for one in found if one.penalizes]
    chance = (
        (penalized[0].always_early_below_ns, penalized[0].always_completes_above_ns) if penalized else None
    )
    return Figure(sweep, found, chance)


def _grid(points: Sequence[Point], rules: Penalty) -> list[int]:
    first, last = points[0].timeout_ns, points[-1].timeout_ns
    steps = min(_LINE_POINTS, max(1, (last - first) // 1000))
    return sorted({first + (last - first) * step // steps for step in range(steps + 1)})
