"""MSR_TEST_CTRL from fake devices."""

import time
from pathlib import Path

import pytest

from sldtrace.host import msr
from sldtrace.host.msr import Core

ON, OFF = msr.DETECT, 0


def host(folder: Path, values: dict[int, int | None], siblings: dict[int, str]) -> tuple[Path, Path]:
    """/dev/cpu and /sys/devices/system/cpu; None: a CPU without the device."""
    for cpu, value in values.items():
        topology = folder / "sys" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings.get(cpu, str(cpu)) + "\n")
        if value is not None:
            device = folder / "dev" / str(cpu)
            device.mkdir(parents=True)
            (device / "msr").write_bytes(bytes(msr.TEST_CTRL) + value.to_bytes(8, "little"))
    return folder / "dev", folder / "sys"


def test_one_register_for_a_core(tmp_path: Path) -> None:
    dev, sys = host(tmp_path, {0: ON, 1: OFF, 2: ON | 7, 3: ON}, {0: "0,2", 2: "0,2", 1: "1,3", 3: "1,3"})
    assert msr.read(dev, sys, pause=0) == [Core((0, 2), True), Core((1, 3), False)]


def test_other_bits_do_not_count(tmp_path: Path) -> None:
    dev, sys = host(tmp_path, {0: ~ON & (1 << 64) - 1}, {})
    assert msr.read(dev, sys, pause=0) == [Core((0,), False)]


def test_a_register_that_cannot_be_read(tmp_path: Path) -> None:
    dev, sys = host(tmp_path, {0: None, 1: ON}, {})
    assert msr.read(dev, sys, pause=0) == [
        Core((0,), None, error="No such file or directory"),
        Core((1,), True),
    ]
    (dev / "1" / "msr").write_bytes(bytes(msr.TEST_CTRL + 3))
    assert msr.read(dev, sys, pause=0)[1].detects is None


def test_off_for_a_moment_is_a_penalty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dev, sys = host(tmp_path, {0: OFF}, {})
    looks = []

    def later(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            (dev / "0" / "msr").write_bytes(bytes(msr.TEST_CTRL) + ON.to_bytes(8, "little"))

    monkeypatch.setattr(time, "sleep", later)
    assert msr.read(dev, sys, pause=0.5) == [Core((0,), True, sometimes_off=True)]
    assert looks == [0.5] * 3


def test_the_register_and_its_bit() -> None:
    """Intel SDM volume 4: MSR_TEST_CTRL (33H), bit 29."""
    assert (msr.TEST_CTRL, msr.DETECT) == (0x33, 1 << 29)
