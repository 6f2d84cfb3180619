"""Sets the level of detail that the governor decides on: attaches or detaches the late probes."""

import time
from collections.abc import Callable

import numpy as np

from sldtrace.capture.bpf.probes import LATE, LATE_COUNTS, LATE_TRAPS, Probes
from sldtrace.capture.bpf.sources import COUNTS
from sldtrace.capture.governor import Governor, Step
from sldtrace.recording import schema
from sldtrace.recording.sink import Sink


class Detail:
    """The level of detail of one recording; each change is a `detail` record.

    on_message: called with a line of text.
    """

    def __init__(
        self, governor: Governor, probes: Probes, sink: Sink, on_message: Callable[[str], None]
    ) -> None:
        self._governor = governor
        self._probes = probes
        self._sink = sink
        self._on_message = on_message
        self._levels = schema.current().enums["level"]
        self._trapped = False
        self.armed = False
        """Whether the late probes, which fire on every VM exit, are attached."""
        self.unfinished_exits = 0
        """Exits whose entry was not seen because the probes were detached."""

    @property
    def level(self) -> str:
        """The level's name, as in the record `detail`."""
        return self._levels.name_of(self._governor.level)

    @property
    def compress(self) -> bool:
        """Whether chunks are compressed; see Governor."""
        return self._governor.compress

    def start(self) -> None:
        """Sets the first level. Call it before recording starts."""
        self._apply(self._governor.start())

    def trapped(self, now_ns: int) -> None:
        """Call it when there are new traps."""
        first, self._trapped = not self._trapped, True
        self._apply(self._governor.trapped(now_ns))
        if first and self.armed:
            self._arm()

    def each_second(self, now_ns: int, events: float, cpu: float) -> None:
        """Call it once a second; see Governor.each_second."""
        self._apply(self._governor.each_second(now_ns, events, cpu))

    def end(self) -> None:
        """Detaches the late probes; their last records are still in the rings."""
        program = self._probes.program
        program.set_control("EXITS", 0)
        program.set_control("MSR", 0)
        program.set_control("LOCKS", 0)
        self._probes.disarm()
        if self.armed and program.counters:
            self.unfinished_exits += program.counters.drop_pending()
        self.armed = False

    def _apply(self, step: Step | None) -> None:
        if step is None:
            return
        off = self._levels.values["TRAPS"]
        if step.level > off and not self.armed:
            self._arm()
        elif step.level == off and self.armed:
            self.end()
        self._probes.program.set_control("LEVEL", step.level)
        record = np.zeros(1, schema.current().records["detail"].dtype)
        record["ns"] = time.monotonic_ns()
        record["measured"], record["limit"] = step.measured, step.limit
        record["level"], record["previous"] = step.level, step.previous
        record["reason"] = schema.current().enums["reason"].values[step.reason]
        record["probes"] = self._probes.count
        self._sink.append("detail", record)
        if message := _message(step, self._levels.name_of(step.level)):
            self._on_message(message)

    # --exits counts: no more than the counts need, until a thread traps.
    def _wanted(self) -> tuple[str, ...]:
        if self._governor.exits != COUNTS:
            return LATE
        return (*LATE_COUNTS, *LATE_TRAPS) if self._trapped else LATE_COUNTS

    def _arm(self) -> None:
        if not self.armed:
            # Before arming: the end of a wait that began earlier is ignored.
            self._probes.program.set_control("LOCKS", time.monotonic_ns())
        added = self._probes.arm(self._wanted())
        if not added:
            return
        now = time.monotonic_ns()
        attached = {probe.name for probe in added if probe.backend}
        if {"kvm:kvm_entry", "kvm:kvm_exit"} <= attached:
            self._probes.program.set_control("EXITS", now)
        if "msr:write_msr" in attached:
            self._probes.program.set_control("MSR", now)
        self.armed = True
        self._sink.facts_update({"probes": [probe.fact() for probe in self._probes.attached]})
        for probe in added:
            if warning := probe.warning:
                self._on_message(warning)


def _message(step: Step, level: str) -> str | None:
    if step.reason == "EVENTS":
        return f"{step.measured:,} records a second, more than {step.limit:,}: now recording {level} only"
    if step.reason == "CPU":
        used, limit = step.measured / 1000, step.limit / 1000
        return (
            f"the recording takes {used:.1f} % of a CPU, more than {limit:.1f} %: now recording {level} only"
        )
    return f"the load is down: recording {level} again" if step.reason == "RECOVERED" else None
