"""How long split-lock detection was off on the cores of a host, while it is recorded."""

from collections.abc import Callable
from typing import ClassVar

from sldtrace.engine.fold import Batch
from sldtrace.engine.tables import Array
from sldtrace.engine.windows import WindowTracker


class OffTime:
    """The sum over the cores; detection is off on a core as a whole. core: of a CPU.

    A window (see engine.windows) counts from the write of MSR_TEST_CTRL that switched detection off; without
    a record of that write there is none.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "detection"})

    def __init__(self, core: Callable[[int], int]) -> None:
        self._tracker = WindowTracker(core, [])
        self._ended_ns = 0

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        found = self._tracker.update(batch)
        self._ended_ns += int((found["end_ns"] - found["start_ns"]).sum())

    def until(self, ns: int) -> int:
        """In ns, with the windows that are open, as far as they go until then (CLOCK_MONOTONIC)."""
        open_ns = ns - self._tracker.open_since()
        return self._ended_ns + int(open_ns[open_ns > 0].sum())

    def keep(self, threads: Array) -> None:
        """See fold.LiveSummary: nothing here is of a thread."""
