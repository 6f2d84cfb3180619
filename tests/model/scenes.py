"""Scenes for the tests of the simulator, and what came of them."""

from dataclasses import dataclass

import numpy as np

from sldtrace.model import penalty
from sldtrace.model.penalty import Penalty
from sldtrace.model.simulator import Runs, Scene, Simulator
from sldtrace.model.sources import Kind, Source
from sldtrace.model.thread import Times, Traps

US, MS, S = 1_000, 1_000_000, 1_000_000_000
TICK = 4 * MS


def kernel(
    release: str = "6.12", mitigate: int | None = penalty.BY_VERSION, mode: str = "warn", tick_ns: int = TICK
) -> Penalty:
    """The penalty of a kernel."""
    return penalty.for_kernel(release, tick_ns, mitigate=mitigate, mode=mode)


def timer(period_ns: int, kind: Kind = Kind.REARMED, jitter_ns: int = 0, to_process: bool = False) -> Source:
    """A source of SIGUSR1."""
    return Source(kind, period_ns, jitter_ns, to_process)


@dataclass
class Played:
    """traps, signals, executed: by thread; detection and migrations as in `Batch`; runs: sorted."""

    traps: list[Traps]
    signals: list[Times]
    detection: list[tuple[int, int, int, int]]
    migrations: list[tuple[int, int, int, int]]
    runs: Runs
    executed: list[int]
    events: int


def play(scene: Scene, duration_ns: int = S, at_once: bool = True, batch_ns: int = 10 * S) -> Played:
    """Plays the scene to the end."""
    simulator = Simulator(scene, at_once)
    batches = list(simulator.run(duration_ns, batch_ns))
    runs = np.concatenate([np.zeros((0, 5), np.int64), *(each for batch in batches for each in batch.runs)])
    return Played(
        [np.concatenate([batch.traps[index] for batch in batches]) for index in range(len(scene.vcpus))],
        [np.concatenate([batch.signals[index] for batch in batches]) for index in range(len(scene.vcpus))],
        [each for batch in batches for each in batch.detection],
        [each for batch in batches for each in batch.migrations],
        runs[np.lexsort((runs[:, 1], runs[:, 0]))],
        [simulator.executed(thread) for thread in simulator.threads],
        simulator.events,
    )
