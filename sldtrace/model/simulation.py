"""Writes a simulation as a recording, marked as what it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sldtrace._version import __version__
from sldtrace.model import records
from sldtrace.model.records import Cast
from sldtrace.model.simulator import Scene, Simulator
from sldtrace.recording.writer import Writer

# 2023-11-14 22:13:20 UTC, so that the same simulation is the same file; the host had been up for 100 s.
REALTIME_NS = 1_700_000_000_000_000_000
START_NS = 100_000_000_000

_BATCH_NS = 10_000_000_000
_BATCH_SIGNALS = 50_000


@dataclass(frozen=True)
class Order:
    """What to simulate and where to write it; options: as the user gave them, for the facts."""

    path: Path
    scene: Scene
    cast: Cast
    release: str
    duration_ns: int
    options: Mapping[str, Any]
    force: bool = False


@dataclass(frozen=True)
class Result:
    """What was written. events: steps of the state machine; executed: split locks done, by thread."""

    traps: int
    early: int
    events: int
    executed: list[int]
    bytes: int


def facts(order: Order) -> dict[str, Any]:
    """The opening facts, with the names of `host.facts.read` and one more: `simulated`."""
    penalty = order.scene.penalty
    return {
        "simulated": dict(order.options),
        "tool": {"name": "sldtrace", "version": __version__},
        "clock": _clock(0),
        "kernel": {"release": order.release, "version": "simulated", "tick_ns": penalty.tick_ns},
        "cpu": {
            "vendor": "simulated",
            "model": "simulated CPU",
            "online": len(order.scene.cores),
            "cores": {str(cpu): core for cpu, core in enumerate(order.scene.cores)},
        },
        "split_lock": {
            "mode": penalty.mode,
            "detects_split_locks": True,
            "detects_bus_locks": penalty.mode.startswith("ratelimit") or order.cast.bus_locks,
            "mitigate": penalty.mitigate,
        },
        "kvm": {"module": "kvm_intel" if order.cast.guest else None},
        "processes": {str(records.TGID): {"comm": "simulated"}},
        "probes": [],
        "filters": {"tgid": None},
    }


def write(order: Order) -> Result:
    """Simulates and writes; raises SldtraceError when the file cannot be written. Memory stays bounded."""
    scene = order.scene
    simulator = Simulator(scene)
    periods = [vcpu.source.period_ns for vcpu in scene.vcpus if vcpu.source.period_ns]
    shortest = min(periods, default=_BATCH_NS)
    batch_ns = min(_BATCH_NS, max(shortest * _BATCH_SIGNALS // len(scene.vcpus), scene.penalty.tick_ns))
    traps = early = 0
    with Writer(order.path, facts(order), force=order.force, recording_id=scene.seed) as writer:
        writer.append("task", records.tasks(len(scene.vcpus), order.cast, scene.start_ns))
        for batch in simulator.run(order.duration_ns, batch_ns):
            found = records.of(batch, scene, order.cast)
            for kind, rows in found.items():
                writer.append(kind, rows)
            traps += len(found["trap"])
            early += int(
                ((found["trap"]["sleep_left_ms"] > 0) | (found["trap"]["semaphore_result"] < 0)).sum()
            )
        if order.cast.bus_locks:
            writer.append("counts", records.bus_locks(scene, order.duration_ns))
        writer.flush()
        closing = {
            "ended_by": "duration",
            "split_lock": {"mitigate": scene.penalty.mitigate},
            "seen": dict(writer.written),
            "unfinished": {"trap": 0},
        }
        writer.close({"clock": _clock(order.duration_ns), **closing})
        size = writer.size
    executed = [simulator.executed(thread) for thread in simulator.threads]
    return Result(traps, early, simulator.events, executed, size)


def _clock(elapsed_ns: int) -> dict[str, int]:
    return {"monotonic_ns": START_NS + elapsed_ns, "realtime_ns": REALTIME_NS + elapsed_ns}
