"""The loaded probes as the recorder uses them: their rings, counters and controls, mapped as memory."""

import contextlib
import mmap
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sldtrace.capture.bpf import slots, syscalls
from sldtrace.capture.bpf.bus_locks import BusLocks
from sldtrace.capture.bpf.counters import Counters
from sldtrace.capture.bpf.loader import Loaded
from sldtrace.capture.bpf.ring import Ring
from sldtrace.capture.bpf.sources import Sizes
from sldtrace.host import kernel
from sldtrace.recording import schema

PAGE = 4096

RINGS = {
    "trap": "traps",
    "task": "tasks",
    "detection": "detections",
    "exit": "exits",
    "user_exit": "user_exits",
    "signal": "signals",
    "migrate": "migrations",
    "stall": "stalls",
    "lost": "losses",
}
"""Record kinds that come through a ring, and the name of its map."""


class Program:
    """Maps and programs that loader.py has loaded. Nothing is attached; probes.py does that."""

    def __init__(self, loaded: Loaded, sizes: Sizes) -> None:
        """Takes the file descriptors over."""
        self._loaded = loaded
        self.refused = loaded.refused
        self.filtered = loaded.filtered
        self.kvm = loaded.kvm
        dimensions = schema.enumeration("event_counts").values
        shape = (kernel.possible_cpus(), dimensions["KINDS"], dimensions["CAUSES"])
        self._event_counts = self._memory("event_counts", shape[0] * shape[1] * shape[2]).reshape(shape)
        self._control = self._memory("controls", len(schema.enumeration("control").values))
        kinds = schema.current().records
        self.rings = {
            kind: Ring(loaded.maps[table], sizes.pages(kind) * PAGE, kinds[kind].dtype)
            for kind, table in RINGS.items()
            if table in loaded.maps
        }
        """By kind of record; a kind whose probes were left out has none."""
        slots.fill(loaded.maps["free_slots"])
        self.counters = Counters(loaded.maps) if "exits" in loaded.maps else None
        self.bus_locks = BusLocks(loaded.maps) if "bus_locks" in loaded.maps else None

    @property
    def functions(self) -> dict[str, int]:
        """The loaded programs by name, as file descriptors."""
        return self._loaded.programs

    def set_control(self, name: str, value: int) -> None:
        """Sets an entry of enum sld_control."""
        self._control[schema.enumeration("control").values[name]] = value

    def event_counts(self) -> npt.NDArray[np.uint64]:
        """The probes' counters, shape (kinds, causes, CPUs): cause 0: events seen, others: lost."""
        return self._event_counts.transpose(1, 2, 0).copy()

    def runs(self, select: Callable[[str], bool] = lambda name: True) -> dict[str, syscalls.Runs]:
        """The kernel's counters of the runs of each probe that `select` accepts, by the probe's name.

        The kernel skips a program that would run inside itself (fentry and raw tracepoints; counted since
        5.12, 9ed9e9ba2337), and any kprobe or tracepoint program inside another or inside the bpf system call
        (since 6.7, dd8657894c11).
        """
        return {name: syscalls.program_runs(one) for name, one in self.functions.items() if select(name)}

    def filter_out(self, tgid: int) -> None:
        """Has the probes ignore this process, which Filters.vm does not select."""
        # Fails only where the table is full of ended processes; the recorder filters the records anyway.
        with contextlib.suppress(OSError):
            syscalls.map_update(self._loaded.maps["filtered"], tgid.to_bytes(4, "little"), b"\1")

    def _memory(self, table: str, count: int) -> npt.NDArray[np.uint64]:
        mapped = mmap.mmap(self._loaded.maps[table], count * 8, mmap.MAP_SHARED)
        return np.frombuffer(mapped, np.uint64, count)

    def close(self) -> None:
        """Unloads everything; what is attached must be detached before."""
        self._loaded.close()
