"""Writes a simulation as a recording; its facts mark it as simulated."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sldtrace._version import __version__
from sldtrace.model import records
from sldtrace.model.early_returns import returned_early
from sldtrace.model.records import ThreadIdentity
from sldtrace.model.simulator import Scene, Simulator
from sldtrace.recording.writer import Writer

# 2023-11-14 22:13:20 UTC, so that the same simulation is the same file; the host had been up for 100 s.
REALTIME_NS = 1_700_000_000_000_000_000
START_NS = 100_000_000_000

_BATCH_NS = 10_000_000_000
_BATCH_SIGNALS = 50_000


@dataclass(frozen=True)
class SimulationOptions:
    """What to simulate and where to write it."""

    path: Path
    scene: Scene
    identity: ThreadIdentity
    release: str  # uname -r of the simulated kernel
    duration_ns: int
    given: Mapping[str, Any]  # the options of the command line, for the facts
    force: bool = False  # overwrite an existing file


@dataclass(frozen=True)
class Result:
    """What was written."""

    traps: int
    early_returns: int
    events: int  # steps of the state machine
    executed: list[int]  # by thread: split locks that it executed
    bytes: int


def facts(options: SimulationOptions) -> dict[str, Any]:
    """The opening facts: those of `host.facts.read`, and `simulated`."""
    penalty = options.scene.penalty
    return {
        "simulated": dict(options.given),
        "tool": {"name": "sldtrace", "version": __version__},
        "clock": _clock(0),
        "kernel": {"release": options.release, "version": "simulated", "tick_ns": penalty.tick_ns},
        "cpu": {
            "vendor": "simulated",
            "model": "simulated CPU",
            "online": len(options.scene.cores),
            "cores": {str(cpu): core for cpu, core in enumerate(options.scene.cores)},
        },
        "split_lock": {
            "mode": penalty.mode,
            "detects_split_locks": True,
            "detects_bus_locks": penalty.mode.startswith("ratelimit") or options.identity.bus_locks,
            "mitigate": penalty.mitigate,
        },
        "kvm": {"module": "kvm_intel" if options.identity.guest else None},
        "processes": {str(records.TGID): {"comm": "simulated"}},
        "probes": [],
        "filters": {"tgid": None},
    }


def write(options: SimulationOptions) -> Result:
    """Simulates and writes; raises SldtraceError when the file cannot be written. Memory stays bounded."""
    scene = options.scene
    simulator = Simulator(scene)
    periods = [vcpu.source.period_ns for vcpu in scene.vcpus if vcpu.source.period_ns]
    shortest = min(periods, default=_BATCH_NS)
    batch_ns = min(_BATCH_NS, max(shortest * _BATCH_SIGNALS // len(scene.vcpus), scene.penalty.tick_ns))
    traps = early = 0
    with Writer(options.path, facts(options), force=options.force, recording_id=scene.seed) as writer:
        writer.append("task", records.tasks(len(scene.vcpus), options.identity, scene.start_ns))
        for batch in simulator.run(options.duration_ns, batch_ns):
            found = records.from_batch(batch, scene, options.identity)
            for kind, rows in found.items():
                writer.append(kind, rows)
            traps += len(found["trap"])
            early += int(returned_early(found["trap"]).sum())
        if options.identity.bus_locks:
            writer.append("counts", records.bus_locks(scene, options.duration_ns))
        writer.flush()
        closing = {
            "ended_by": "duration",
            "split_lock": {"mitigate": scene.penalty.mitigate},
            "seen": dict(writer.written),
            "unfinished": {"trap": 0},
        }
        writer.close({"clock": _clock(options.duration_ns), **closing})
        size = writer.size
    executed = [simulator.executed(thread) for thread in simulator.threads]
    return Result(traps, early, simulator.events, executed, size)


def _clock(elapsed_ns: int) -> dict[str, int]:
    return {"monotonic_ns": START_NS + elapsed_ns, "realtime_ns": REALTIME_NS + elapsed_ns}
