"""The emulated hosts of the tests: what is booted, and what runs in it."""

from dataclasses import dataclass
from pathlib import Path

from lab.kernel import KERNELS

_SCENARIO = "tests/integration/scenario.py"
_GUESTS = "tests/vmm/guests_in_lab.py"
_COST = "tests/benchmarks/cost_in_lab.py"


@dataclass(frozen=True)
class Machine:
    """One boot: `script FOLDER part` runs in it and leaves FOLDER/protocol.json.

    mode: split_lock_detect=, empty: not given; program: a C source; what it compiles to is put at /tmp/,
    without the suffix.
    """

    kernel: str
    script: str
    part: str
    cpus: int = 1
    mode: str = ""
    program: str = ""

    def arguments(self, out: Path, *more: str) -> list[str]:
        """What `python -m lab` is called with, with `more` options; FOLDER comes to out/out."""
        return [
            *("run", "--quiet", "--kernel", self.kernel, "--timeout", "1500", "--cpus", str(self.cpus)),
            *(("--split-lock-detect", self.mode) if self.mode else ()),
            *more,
            *("--fetch", "/tmp/out", "--out", str(out)),
            *("--", "python3", self.script, "/tmp/out", self.part),
        ]


# By the name of the fixture that gives what it brought back; where each kernel has one: (fixture, kernel).
# What does not depend on the kernel is looked at on one only.
_ONE = "6.12"
MACHINES: dict[tuple[str, ...], Machine] = {
    ("limits",): Machine(_ONE, _SCENARIO, "limits"),
    ("cost",): Machine(_ONE, _COST, "sldtrace"),
    ("by_hand",): Machine(_ONE, _SCENARIO, "by_hand", 2),
    ("guests_stress",): Machine(_ONE, _GUESTS, "stress", 2, program="examples/vmm/loop.c"),
    ("findings_off",): Machine(_ONE, _SCENARIO, "findings", mode="off"),
}
for _kernel in sorted(KERNELS):
    MACHINES |= {
        ("scenario", _kernel): Machine(_kernel, _SCENARIO, "verdicts"),
        ("production", _kernel): Machine(_kernel, _SCENARIO, "production", 2),
        ("findings", _kernel): Machine(_kernel, _SCENARIO, "findings", 2),
        ("findings_fatal", _kernel): Machine(_kernel, _SCENARIO, "findings", mode="fatal"),
        ("guests_sweep", _kernel): Machine(_kernel, _GUESTS, "sweep"),
        ("guests_off", _kernel): Machine(_kernel, _GUESTS, "off", mode="off"),
        ("guests_fatal", _kernel): Machine(_kernel, _GUESTS, "fatal", mode="fatal"),
    }
