"""The emulated hosts of the tests: what is booted, and which parts run in it one after the other."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lab.kernel import DEFAULT, KERNELS

_SCRIPT = "tests/integration/scenario.py"


@dataclass(frozen=True)
class Boot:
    """One boot: `scenario.py FOLDER PART...` runs in it and leaves FOLDER/PART/protocol.json.

    name: for people. parts: names of scenario.PARTS, which are the names of fixtures in conftest.py, too.
    mode: split_lock_detect=, empty: not given. program: a C source; what it compiles to is put at /tmp/,
    without the suffix. cost: CPU seconds on the slowest machine known, so that the longest begin first.
    """

    name: str
    parts: tuple[str, ...]
    cpus: int = 1
    mode: str = ""
    program: str = ""
    cost: int = 0


BOOTS = (
    Boot("two CPUs", ("production", "findings", "guests_stress"), cpus=2, program="examples/vmm/loop.c"),
    Boot("one CPU", ("scenario", "guests_sweep")),
    Boot("limits", ("limits",)),
    Boot("cost", ("cost",)),
    Boot("fatal", ("findings_fatal", "guests_fatal"), mode="fatal"),
    Boot("off", ("findings_off", "guests_off"), mode="off"),
    Boot("by hand", ("by_hand",), cpus=2),
)
BOOT_OF = {part: boot for boot in BOOTS for part in boot.parts}

# What does not depend on the kernel is looked at on this one only, unless all is asked for.
ONE_KERNEL = DEFAULT
ALL_KERNELS = sorted(KERNELS)


@dataclass(frozen=True)
class Machine:
    """A boot on a kernel, with the parts that tests wait for.

    brief: of the parts only what depends on the kernel.
    """

    boot: Boot
    kernel: str
    parts: tuple[str, ...]
    brief: bool = False

    def __str__(self) -> str:
        return f"Linux {self.kernel}, {self.boot.name}"

    def arguments(self, out: Path, *more: str) -> list[str]:
        """What `python -m lab` is called with, with `more` options; FOLDER comes to out/out."""
        boot = self.boot
        return [
            *("run", "--quiet", "--kernel", self.kernel, "--timeout", "3000", "--cpus", str(boot.cpus)),
            *(("--split-lock-detect", boot.mode) if boot.mode else ()),
            *more,
            *("--fetch", "/tmp/out", "--out", str(out)),
            *("--", "python3", _SCRIPT, *(("--brief",) if self.brief else ()), "/tmp/out", *self.parts),
        ]


def machines(wanted: Collection[tuple[str, str]], all_kernels: bool) -> list[Machine]:
    """The machines for (part, kernel), the longest first; all_kernels: whole parts on each of them."""
    found = [
        Machine(boot, kernel, parts, kernel != ONE_KERNEL and not all_kernels)
        for boot in BOOTS
        for kernel in ALL_KERNELS
        if (parts := tuple(part for part in boot.parts if (part, kernel) in wanted))
    ]
    return sorted(found, key=lambda one: (one.brief, -one.boot.cost))
