"""Decides on the level of detail: up at the first trap, down above a limit or when there are no traps."""

from dataclasses import dataclass, field

from sldtrace.capture.bpf.sources import ALL, COUNTS, NONE
from sldtrace.recording import schema

_SECOND_NS = 1_000_000_000
_IDLE_NS = 30 * _SECOND_NS
_PATIENCE = 3  # seconds in a row above a limit before the level is lowered
_HOLD_NS = 10 * _SECOND_NS
_LONGEST_HOLD_NS = 320 * _SECOND_NS


def _level(name: str) -> int:
    return schema.current().enums["level"].values[name]


@dataclass(frozen=True)
class Limits:
    """What the recording may cost."""

    events: int = 20_000  # records a second
    cpu: float = 10.0  # per cent of one CPU, recorder and probes together
    idle_ns: int = _IDLE_NS  # without a trap for this long the late probes are detached


@dataclass(frozen=True)
class Step:
    """A change of the level (enum sld_level); measured, limit, reason: as in the record `detail`."""

    level: int
    previous: int
    reason: str
    measured: int = 0
    limit: int = 0


@dataclass
class Governor:
    """The level of one recording.

    exits: one of sources.EXITS. With `all` and `counts` the late probes are attached from the start, and
    detached only above a limit, not when there are no traps. compress: whether chunks are compressed: not
    when the CPU time is above half of the limit, nor in the second after the first trap; again below a
    quarter.
    """

    exits: str
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._asked = self.exits in (ALL, COUNTS)
        self._top = _level({NONE: "TRAPS", COUNTS: "COUNTS"}.get(self.exits, "EXITS"))
        self.level = self._top if self._asked else _level("TRAPS")
        self._allowed = self._top
        self._last_trap_ns: int | None = None
        self._hold_ns = _HOLD_NS
        self._lowered_ns: int | None = None
        self._seconds_above = 0
        self.compress = True

    def start(self) -> Step:
        """The first level."""
        return Step(self.level, self.level, "START")

    def trapped(self, now_ns: int) -> Step | None:
        """Call it when there are new traps; now_ns: CLOCK_MONOTONIC."""
        self._last_trap_ns = now_ns
        if self.level >= self._allowed:
            return None
        self.compress = False  # the load is not known yet
        return self._change(self._allowed, "TRAP")

    def each_second(self, now_ns: int, events: float, cpu: float) -> Step | None:
        """Call it once a second: records a second, and per cent of one CPU, since the last call."""
        self.compress = cpu < self.limits.cpu / (2 if self.compress else 4)
        too_many, too_costly = events > self.limits.events, cpu > self.limits.cpu
        self._seconds_above = self._seconds_above + 1 if too_many or too_costly else 0
        # A flood lowers the level at once, before the rings are full.
        flood = events > 2 * self.limits.events
        if (flood or self._seconds_above >= _PATIENCE) and self.level > _level("TRAPS"):
            self._seconds_above = 0
            if self._unchanged_ns(now_ns) < 2 * self._hold_ns:  # it did not hold for long
                self._hold_ns = min(2 * self._hold_ns, _LONGEST_HOLD_NS)
            self._lowered_ns = now_ns
            self._allowed = self.level - 1
            if too_many:
                return self._change(self._allowed, "EVENTS", round(events), self.limits.events)
            return self._change(self._allowed, "CPU", round(cpu * 1000), round(self.limits.cpu * 1000))
        room = events <= self.limits.events / 2 and cpu <= self.limits.cpu / 2
        if room and self._allowed < self._top and self._unchanged_ns(now_ns) >= self._hold_ns:
            self._lowered_ns = now_ns
            self._allowed += 1
            if self._asked or self._traps_recently(now_ns):
                return self._change(self._allowed, "RECOVERED", round(events), self.limits.events)
        if self._allowed == self._top and self._unchanged_ns(now_ns) >= 4 * self._hold_ns:
            self._hold_ns = _HOLD_NS
        if not self._asked and self.level > _level("TRAPS") and not self._traps_recently(now_ns):
            idle = now_ns - (self._last_trap_ns or 0)
            return self._change(_level("TRAPS"), "IDLE", idle, self.limits.idle_ns)
        return None

    # Time since the last change because of a limit; infinite if there was none.
    def _unchanged_ns(self, now_ns: int) -> float:
        return float("inf") if self._lowered_ns is None else now_ns - self._lowered_ns

    def _traps_recently(self, now_ns: int) -> bool:
        return self._last_trap_ns is not None and now_ns - self._last_trap_ns < self.limits.idle_ns

    def _change(self, level: int, reason: str, measured: int = 0, limit: int = 0) -> Step:
        step = Step(level, self.level, reason, measured, limit)
        self.level = level
        return step
