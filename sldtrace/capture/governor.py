"""Decides how much is recorded: up on the first trap, down when it costs too much or nothing happens."""

from dataclasses import dataclass, field

from sldtrace.capture.bpf.sources import ALL, COUNTS, NONE
from sldtrace.recording import schema

_SECOND_NS = 1_000_000_000
_CALM_NS = 30 * _SECOND_NS
_PATIENCE = 3  # seconds in a row above a limit before anything is done
_HOLD_NS = 10 * _SECOND_NS
_LONGEST_HOLD_NS = 320 * _SECOND_NS


def _level(name: str) -> int:
    return schema.current().enums["level"].values[name]


@dataclass(frozen=True)
class Limits:
    """What the recording may cost, and when the trouble counts as over.

    events: records a second; cpu: per cent of one CPU, recorder and probes together; idle_ns: time without
    a trap after which what is attached for traps is taken off.
    """

    events: int = 20_000
    cpu: float = 10.0
    idle_ns: int = _CALM_NS


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

    exits: one of sources.EXITS. With `all` and `counts` the user asked for exits from the start: they are not
    taken off when it is idle, only when they cost too much. compress: whether what is written is compressed:
    not when the load is above half of the limit, nor in the second after a first trap, and again when it is
    below a quarter.
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
        """The level that the recording begins with."""
        return Step(self.level, self.level, "START")

    def trapped(self, now_ns: int) -> Step | None:
        """To be told whenever there are new traps; now_ns: CLOCK_MONOTONIC."""
        self._last_trap_ns = now_ns
        if self.level >= self._allowed:
            return None
        self.compress = False  # how much comes now is not known yet
        return self._go(self._allowed, "TRAP")

    def second(self, now_ns: int, events: float, cpu: float) -> Step | None:
        """To be told once a second: records a second, and per cent of one CPU, since the last time."""
        self.compress = cpu < self.limits.cpu / (2 if self.compress else 4)
        too_many, too_dear = events > self.limits.events, cpu > self.limits.cpu
        self._seconds_above = self._seconds_above + 1 if too_many or too_dear else 0
        # A flood is not waited for: it would be over the rings by then.
        flood = events > 2 * self.limits.events
        if (flood or self._seconds_above >= _PATIENCE) and self.level > _level("TRAPS"):
            self._seconds_above = 0
            if self._quiet_ns(now_ns) < 2 * self._hold_ns:  # it did not hold for long
                self._hold_ns = min(2 * self._hold_ns, _LONGEST_HOLD_NS)
            self._lowered_ns = now_ns
            self._allowed = self.level - 1
            if too_many:
                return self._go(self._allowed, "EVENTS", round(events), self.limits.events)
            return self._go(self._allowed, "CPU", round(cpu * 1000), round(self.limits.cpu * 1000))
        room = events <= self.limits.events / 2 and cpu <= self.limits.cpu / 2
        if room and self._allowed < self._top and self._quiet_ns(now_ns) >= self._hold_ns:
            self._lowered_ns = now_ns
            self._allowed += 1
            if self._asked or self._troubled(now_ns):
                return self._go(self._allowed, "RECOVERED", round(events), self.limits.events)
        if self._allowed == self._top and self._quiet_ns(now_ns) >= 4 * self._hold_ns:
            self._hold_ns = _HOLD_NS
        if not self._asked and self.level > _level("TRAPS") and not self._troubled(now_ns):
            idle = now_ns - (self._last_trap_ns or 0)
            return self._go(_level("TRAPS"), "IDLE", idle, self.limits.idle_ns)
        return None

    # Time since less was recorded or more again; for ever where neither has been.
    def _quiet_ns(self, now_ns: int) -> float:
        return float("inf") if self._lowered_ns is None else now_ns - self._lowered_ns

    def _troubled(self, now_ns: int) -> bool:
        return self._last_trap_ns is not None and now_ns - self._last_trap_ns < self.limits.idle_ns

    def _go(self, level: int, reason: str, measured: int = 0, limit: int = 0) -> Step:
        step = Step(level, self.level, reason, measured, limit)
        self.level = level
        return step
