"""Compiles the probes of bpf/ into one module in this kernel's terms, and reaches its maps."""

import mmap
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace import resources
from sldtrace.capture import bcc, kinfo
from sldtrace.capture.ring import Ring
from sldtrace.errors import SldtraceError
from sldtrace.host import kernel
from sldtrace.recording import schema

PAGE = 4096

# Which tracepoint a source file needs; without it bcc cannot compile the file.
_SOURCES: tuple[tuple[str, str | None], ...] = (
    ("thread.bpf.c", None),
    ("trap.bpf.c", None),
    ("signal.bpf.c", "signal:signal_generate"),
    ("exits.bpf.c", "kvm:kvm_exit"),
    ("detection.bpf.c", "msr:write_msr"),
)

RINGS = {"trap": "traps", "task": "tasks", "detection": "detections"}
"""Record kinds that come through a ring, and the name of its map."""


@dataclass(frozen=True)
class Sizes:
    """Pages (4 KiB, a power of two) of each ring. The rarer the record, the smaller the ring."""

    trap: int = 256
    task: int = 16
    detection: int = 16

    def pages(self, kind: str) -> int:
        """Pages of the ring of that kind."""
        return int(getattr(self, kind))


def source(tgid: int | None, sizes: Sizes, kprobes: Collection[str]) -> tuple[str, list[str]]:
    """The C text and the compiler's flags; leaves out the files whose tracepoint this kernel lacks."""
    folder = resources.bpf()
    parts = ["events.h"]
    parts += [name for name, needs in _SOURCES if needs is None or kernel.has_tracepoint(*needs.split(":"))]
    # `#line` makes the compiler's messages name the right file.
    text = "".join(f'#line 1 "{name}"\n{(folder / name).read_text(encoding="utf-8")}' for name in parts)
    flags = [f"-DSLD_{kind.upper()}_PAGES={sizes.pages(kind)}" for kind in RINGS]
    flags.append(f"-DSLD_CPUS={kernel.possible_cpus()}")
    for record in schema.current().records.values():
        text += (
            f'_Static_assert(sizeof(struct sld_{record.name}) == {record.dtype.itemsize}, "{record.name}");\n'
        )
    flags += [f"-DSLD_KPROBE_{function}" for function in kprobes]
    if tgid is not None:
        flags.append(f"-DSLD_ONLY_TGID={tgid}")
    return text, flags


class Program:
    """The compiled module. Nothing is loaded or attached until probes.py does so."""

    def __init__(self, tgid: int | None, sizes: Sizes, kprobes: Collection[str]) -> None:
        """tgid: follow this process only; kprobes: functions to be hooked by kprobe instead of fentry.

        Raises SldtraceError when bcc is missing or cannot compile, with the compiler's first error."""
        self._library = bcc.load()

        class Module(self._library.BPF):  # type: ignore[misc, name-defined]
            # bcc would attach everything at once, and fail as a whole.
            def _trace_autoload(self) -> None:
                pass

        # No kernel structure is read, so our stand-in for the headers does, and the host needs none.
        os.environ["BCC_KERNEL_SOURCE"] = str(resources.bpf() / "stub")
        text, flags = source(tgid, sizes, kprobes)
        self.sizes = sizes
        messages: list[str] = []
        try:
            with bcc.quiet() as messages:
                self.module: Any = Module(text=text.encode(), cflags=[*flags, "-Wno-everything"])
        except Exception as error:  # bcc raises nothing more precise
            reasons = [line for line in messages if "error:" in line] or messages or [str(error)]
            raise SldtraceError(f"the probes do not compile here: {reasons[0].strip()}") from error
        self.functions = self._functions()
        tally = schema.enumeration("tallies").values
        shape = (kernel.possible_cpus(), tally["KINDS"], tally["CAUSES"])
        self._tallies = self._memory("tallies", shape[0] * shape[1] * shape[2]).reshape(shape)
        self._control = self._memory("control", len(schema.enumeration("control").values))

    def _functions(self) -> frozenset[str]:
        library, module = self._library.lib, self.module.module
        count = library.bpf_num_functions(module)
        return frozenset(library.bpf_function_name(module, i).decode() for i in range(count))

    def ring(self, kind: str) -> Ring | None:
        """The ring of that kind of record; None where its probe was left out."""
        try:
            table = self.module[RINGS[kind]]
        except KeyError:
            return None
        return Ring(table.map_fd, self.sizes.pages(kind) * PAGE, schema.current().records[kind].dtype)

    def tell(self, name: str, value: int) -> None:
        """Sets an entry of enum sld_control."""
        self._control[schema.enumeration("control").values[name]] = value

    def tallies(self) -> npt.NDArray[np.uint64]:
        """The probes' counters, shape (kinds, causes, CPUs): events seen at cause 0, lost at the others."""
        return self._tallies.transpose(1, 2, 0).copy()

    def skipped(self) -> dict[str, int]:
        """By function, how often the kernel did not run it although its event came, as far as it counts that.

        It skips a program that would run inside itself (fentry; counted since 5.12, 9ed9e9ba2337), and any
        kprobe or tracepoint program inside another or inside the bpf system call (since 6.7, dd8657894c11).
        """
        loaded = self.module.funcs.items()
        return {name.decode(): kinfo.recursion_misses(self._library.lib, one.fd) for name, one in loaded}

    def _memory(self, table: str, count: int) -> npt.NDArray[np.uint64]:
        size = -(-count * 8 // PAGE) * PAGE
        mapped = mmap.mmap(self.module[table].map_fd, size, mmap.MAP_SHARED)
        return np.frombuffer(mapped, np.uint64, count)

    def load(self, function: str) -> None:
        """Has the kernel verify a tracepoint's function, without attaching it."""
        self.module.load_func(function.encode(), self._library.BPF.TRACEPOINT)

    def close(self) -> None:
        """Detaches and unloads everything."""
        with bcc.quiet():
            self.module.cleanup()
