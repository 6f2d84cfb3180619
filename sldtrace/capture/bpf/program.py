"""The loaded probes as the recorder uses them: their rings, counters and switches, mapped as memory."""

import contextlib
import mmap
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sldtrace.capture.bpf import syscalls
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
        tally = schema.enumeration("tallies").values
        shape = (kernel.possible_cpus(), tally["KINDS"], tally["CAUSES"])
        self._tallies = self._memory("tallies", shape[0] * shape[1] * shape[2]).reshape(shape)
        self._control = self._memory("control", len(schema.enumeration("control").values))
        kinds = schema.current().records
        self.rings = {
            kind: Ring(loaded.maps[table], sizes.pages(kind) * PAGE, kinds[kind].dtype)
            for kind, table in RINGS.items()
            if table in loaded.maps
        }
        """By kind of record; a kind whose probes were left out has none."""
        self.counters = Counters(loaded.maps) if "claims" in loaded.maps else None

    @property
    def functions(self) -> dict[str, int]:
        """The loaded programs by name, as file descriptors."""
        return self._loaded.programs

    def tell(self, name: str, value: int) -> None:
        """Sets an entry of enum sld_control."""
        self._control[schema.enumeration("control").values[name]] = value

    def widen(self) -> None:
        """Has threads looked at again whose exits were passed over."""
        self._control[schema.enumeration("control").values["SCOPE"]] += np.uint64(1)

    def tallies(self) -> npt.NDArray[np.uint64]:
        """The probes' counters, shape (kinds, causes, CPUs): events seen at cause 0, lost at the others."""
        return self._tallies.transpose(1, 2, 0).copy()

    def runs(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, syscalls.Runs]:
        """What the kernel has counted of the runs of each function, or of those that are wanted.

        It skips a program that would run inside itself (fentry and raw tracepoints; counted since 5.12,
        9ed9e9ba2337), and any kprobe or tracepoint program inside another or inside the bpf system call
        (since 6.7, dd8657894c11).
        """
        return {name: syscalls.program_runs(one) for name, one in self.functions.items() if wanted(name)}

    def leave_out(self, tgid: int) -> None:
        """Tells the probes that this process is none of those wanted (Filters.vm)."""
        # Refused only where the table is full of ended ones: the recorder leaves its records out then, too.
        with contextlib.suppress(OSError):
            syscalls.map_update(self._loaded.maps["unwanted"], tgid.to_bytes(4, "little"), b"\1")

    def _memory(self, table: str, count: int) -> npt.NDArray[np.uint64]:
        size = -(-count * 8 // PAGE) * PAGE
        mapped = mmap.mmap(self._loaded.maps[table], size, mmap.MAP_SHARED)
        return np.frombuffer(mapped, np.uint64, count)

    def close(self) -> None:
        """Unloads everything; what is attached must be detached before."""
        self._loaded.close()
