"""Carries out what the governor decides: arms and disarms the late probes, and records each step."""

import time
from collections.abc import Callable

import numpy as np

from sldtrace.capture.bpf.probes import Probes
from sldtrace.capture.governor import Governor, Step
from sldtrace.recording import schema
from sldtrace.recording.sink import Sink


class Detail:
    """The level of detail of one recording; `say` takes a line of news."""

    def __init__(self, governor: Governor, probes: Probes, sink: Sink, say: Callable[[str], None]) -> None:
        self._governor = governor
        self._probes = probes
        self._sink = sink
        self._say = say
        self._levels = schema.current().enums["level"]
        self.armed = False
        """Whether what fires on every VM exit is attached."""
        self.unfinished_exits = 0
        """Single exits whose entry was not seen because the probes had been taken off."""

    @property
    def level(self) -> str:
        """The level, as in the record `detail`."""
        return self._levels.name_of(self._governor.level)

    @property
    def compress(self) -> bool:
        """Whether there is time to compress what is written; see Governor."""
        return self._governor.compress

    def start(self) -> None:
        """To be called before recording begins."""
        self._apply(self._governor.start())

    def trapped(self, now_ns: int) -> None:
        """To be called whenever there are new traps."""
        self._apply(self._governor.trapped(now_ns))

    def second(self, now_ns: int, events: float, cpu: float) -> None:
        """To be called once a second; see Governor.second."""
        self._apply(self._governor.second(now_ns, events, cpu))

    def end(self) -> None:
        """Takes the late probes off; their last records are still to be read."""
        program = self._probes.program
        program.set_control("EXITS", 0)
        program.set_control("MSR", 0)
        program.set_control("LOCKS", 0)
        self._probes.disarm()
        if self.armed and program.counters:
            self.unfinished_exits += program.counters.rest()
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
        if news := _news(step, self._levels.name_of(step.level)):
            self._say(news)

    def _arm(self) -> None:
        # Before: of a wait that is begun by then, but by no probe, the end is not taken for another one's.
        self._probes.program.set_control("LOCKS", time.monotonic_ns())
        added = self._probes.arm()
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
                self._say(warning)


def _news(step: Step, level: str) -> str | None:
    if step.reason == "EVENTS":
        return f"{step.measured:,} records a second, more than {step.limit:,}: now recording {level} only"
    if step.reason == "CPU":
        used, limit = step.measured / 1000, step.limit / 1000
        return (
            f"the recording takes {used:.1f} % of a CPU, more than {limit:.1f} %: now recording {level} only"
        )
    return f"the load is down: recording {level} again" if step.reason == "RECOVERED" else None
