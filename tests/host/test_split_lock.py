"""What a host does about split locks, from fake /proc trees."""

from pathlib import Path

import pytest

from sldtrace.host import split_lock
from tests.host.fakeproc import CPUINFO, proc


@pytest.mark.parametrize(
    ("cmdline", "mode"),
    [
        ("BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet", "warn"),
        ("quiet split_lock_detect=off", "off"),
        ("split_lock_detect=fatal quiet", "fatal"),
        ("split_lock_detect=ratelimit:5", "ratelimit:5"),
        ("split_lock_detect=off a=b split_lock_detect=warn\n", "warn"),
        ("my_split_lock_detect=off", "warn"),
        ("split_lock_detect=on", "warn"),
        ("split_lock_detect=offline", "warn"),
        ("split_lock_detect=ratelimit:1000", "ratelimit:1000"),
        ("split_lock_detect=ratelimit:05x", "ratelimit:5"),
        ("split_lock_detect=ratelimit:0", "warn"),
        ("split_lock_detect=ratelimit:1001", "warn"),
        ("split_lock_detect=\x1b[31m", "warn"),
        ("x.split_lock_detect=off", "warn"),
        ("", "warn"),
    ],
)
def test_mode(cmdline: str, mode: str) -> None:
    for flags in ({"split_lock_detect"}, {"bus_lock_detect", "fpu"}):
        assert split_lock.parse_mode(cmdline, flags) == mode
    assert split_lock.parse_mode(cmdline, {"fpu", "split_lock"}) == "unsupported"


def test_fields_of_the_first_processor() -> None:
    fields = split_lock.cpu_fields(CPUINFO.format(flags="fpu vme split_lock_detect"))
    assert fields["model name"] == "A CPU: with a colon"
    assert fields["flags"] == "fpu vme split_lock_detect"
    assert fields["processor"] == "0"
    assert fields["power management"] == ""
    assert split_lock.cpu_fields("") == {}


@pytest.mark.parametrize(
    ("flags", "split", "bus"),
    [
        ("fpu split_lock_detect", True, False),
        ("bus_lock_detect fpu", False, True),
        ("split_lock_detect bus_lock_detect", True, True),
    ],
)
def test_flags_of_the_cpu(flags: str, split: bool, bus: bool, tmp_path: Path) -> None:
    lock = split_lock.read(proc(tmp_path, flags=flags, cmdline="quiet split_lock_detect=fatal"))
    assert (lock.detects_split_locks, lock.detects_bus_locks, lock.mode) == (split, bus, "fatal")


def test_a_cpu_without_detection(tmp_path: Path) -> None:
    lock = split_lock.read(proc(tmp_path, flags="fpu vme", cmdline="split_lock_detect=warn"))
    assert lock == split_lock.SplitLock("unsupported", False, False, 1)


@pytest.mark.parametrize(
    ("sysctl", "value"), [("0\n", 0), ("1\n", 1), ("100\n", 100), (None, None), ("", None), ("on\n", None)]
)
def test_the_sysctl(sysctl: str | None, value: int | None, tmp_path: Path) -> None:
    assert split_lock.read(proc(tmp_path, mitigate=sysctl)).mitigate == value


def test_a_cpuinfo_without_flags(tmp_path: Path) -> None:
    folder = proc(tmp_path)
    (folder / "cpuinfo").write_text("processor : 0\n")
    assert split_lock.read(folder).mode == "unsupported"


@pytest.mark.parametrize(
    ("mode", "detects", "why"),
    [
        ("warn", True, None),
        ("fatal", True, None),
        ("off", True, "booted with split_lock_detect=off"),
        ("ratelimit:5", True, "booted with split_lock_detect=ratelimit:5"),
        ("warn", False, "this CPU has no split-lock detection"),
        ("unsupported", False, "this CPU has no split-lock detection"),
    ],
)
def test_why_nothing_traps(mode: str, detects: bool, why: str | None) -> None:
    said = split_lock.SplitLock(mode, detects, True, 1).why_no_traps()
    assert said is None if why is None else said is not None and why in said


@pytest.mark.parametrize("mode", ["off", "warn", "fatal", "ratelimit:5", "unsupported"])
@pytest.mark.parametrize("split", [False, True])
def test_where_the_cpu_has_ac_only_the_mode_ratelimit_uses_db(mode: str, split: bool) -> None:
    """bus_lock_init, arch/x86/kernel/cpu/bus_lock.c."""
    lock = split_lock.SplitLock(mode, split, True, 1)
    assert lock.traps_bus_locks is (mode == "ratelimit:5" or (not split and mode in ("warn", "fatal")))
    assert not split_lock.SplitLock(mode, split, False, 1).traps_bus_locks
