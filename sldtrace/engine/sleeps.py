"""What the sleeps of all traps say about the kernel's penalty."""

import dataclasses
from typing import ClassVar

from sldtrace.engine.fold import Batch
from sldtrace.engine.tables import Array
from sldtrace.model.penalty import Penalty
from sldtrace.model.sleeps import Sleeps


class SleepSummary:
    """Whether a thread slept, and for how many jiffies: see model.sleeps."""

    kinds: ClassVar[frozenset[str]] = frozenset({"trap"})

    def __init__(self, tick_ns: int) -> None:
        self._sleeps = Sleeps(tick_ns)
        self.slept = False

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps = batch.traps
        slept = traps.flag("SLEPT")
        self.slept = self.slept or bool(slept.any())
        self._sleeps.add(slept, *(traps[f"sleep_{each}"] for each in ("requested_ms", "left_ms", "ns")))

    def corrected(self, penalty: Penalty) -> Penalty:
        """The penalty with the length of its sleep as it was seen."""
        seen = self._sleeps.jiffies
        return penalty if seen is None else dataclasses.replace(penalty, sleep_jiffies=seen)

    def keep(self, threads: Array) -> None:
        """It keeps nothing of single threads."""
