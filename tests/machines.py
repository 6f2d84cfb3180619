"""The emulated hosts of the tests: what is booted, and which parts run in it one after the other."""

import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from guests.assemble import assemble
from lab.kernel import DEFAULT, KERNELS
from lab.rootfs import DEFAULT as PLAIN

_REPOSITORY = Path(__file__).resolve().parent.parent
_SCRIPT = "tests/integration/scenario.py"


@dataclass(frozen=True)
class Boot:
    """One boot: `scenario.py FOLDER PART...` runs in it and leaves FOLDER/PART/protocol.json.

    name: for people. parts: names of scenario.PARTS, which are the names of fixtures in conftest.py, too,
    with the machine's own seconds that they take, by which the longest boot begins first. mode:
    split_lock_detect=, empty: not given. programs: sources in C or assembly; what is built from each is
    put at /tmp/, without the suffix. root: its root file system. options: more for `lab run`.
    """

    name: str
    parts: dict[str, int]
    cpus: int = 1
    mode: str = ""
    programs: tuple[str, ...] = ()
    root: str = PLAIN
    options: tuple[str, ...] = ()


BOOTS = (
    Boot(
        "two CPUs",
        {"production": 60, "findings": 105, "guests_stress": 60},
        cpus=2,
        programs=("examples/vmm/loop.c", "tests/integration/culprits.c"),
    ),
    Boot("one CPU", {"scenario": 92, "guests_sweep": 8}),
    Boot("limits", {"limits": 170}),
    Boot("cost", {"cost": 110}),
    Boot("QEMU", {"vmm": 30}, programs=("tests/integration/firmware.S",), root="qemu"),
    Boot("all VMMs", {"vmms": 90}, programs=("tests/integration/firmware.S",), root="qemu"),
    Boot(
        "Linux in QEMU",
        {"linux_vm": 60, "nested_vm": 50},
        programs=("tests/integration/linux_guest.c", "examples/vmm/loop.c"),
        root="qemu",
        options=("--put-kernel", "/tmp/vmlinuz"),
    ),
    Boot("fixes", {"fixes": 90}, options=("--module", "tests/integration/split_lock_fixes")),
    Boot("fatal", {"findings_fatal": 45, "guests_fatal": 10}, mode="fatal"),
    Boot("off", {"findings_off": 45, "guests_off": 10}, mode="off"),
    Boot("ratelimit", {"findings_ratelimit": 45}, mode="ratelimit:10"),
    Boot("by hand", {"by_hand": 100}, cpus=2),
    Boot("soak", {"soak": 700}, cpus=2),
)
BOOT_OF = {part: boot for boot in BOOTS for part in boot.parts}

# What does not depend on the kernel is looked at on this one only, unless all is asked for.
ONE_KERNEL = DEFAULT
ALL_KERNELS = sorted(KERNELS)


@dataclass(frozen=True)
class Machine:
    """A boot on a kernel, with the parts that tests wait for."""

    boot: Boot
    kernel: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"Linux {self.kernel}, {self.boot.name}"

    def arguments(self, out: Path) -> list[str]:
        """What `python -m lab` is called with; FOLDER comes to out/out, and programs are built in `out`."""
        boot = self.boot
        built = [_built(_REPOSITORY / program, out) for program in boot.programs]
        return [
            *("run", "--quiet", "--kernel", self.kernel, "--cpus", str(boot.cpus)),
            *("--root", boot.root),
            *boot.options,
            *(("--split-lock-detect", boot.mode) if boot.mode else ()),
            *(word for program in built for word in ("--put", str(program))),
            *("--fetch", "/tmp/out", "--out", str(out)),
            *("--", "python3", _SCRIPT, "/tmp/out", *self.parts),
        ]


def _built(source: Path, out: Path) -> Path:
    """What is made from that source, a program or a flat image, in the folder `out`."""
    built = out / source.stem
    if source.suffix == ".S":
        assemble(source, built)
    else:
        subprocess.run(["cc", "-O2", "-static", "-o", built, source], check=True)
    return built


def machines(wanted: Collection[tuple[str, str]]) -> list[Machine]:
    """The machines for (part, kernel), the longest first."""
    found = [
        Machine(boot, kernel, parts)
        for boot in BOOTS
        for kernel in ALL_KERNELS
        if (parts := tuple(part for part in boot.parts if (part, kernel) in wanted))
    ]
    return sorted(found, key=lambda one: -sum(one.boot.parts[part] for part in one.parts))
