"""The conditions that the probes are compiled with, as a C compiler understands them."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from sldtrace.capture.bpf.filters import Filters

NEEDS_GCC = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def check(folder: Path, filters: Filters, condition: str, wanted: bool) -> None:
    """The compiler finds the condition true or false, as it should, with the flags of these filters."""
    (folder / "one.c").write_text(f'_Static_assert(!!({condition}) == {int(wanted)}, "otherwise");\n')
    command = ["gcc", "-w", "-fsyntax-only", *filters.flags(), "one.c"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


def comm(name: bytes) -> str:
    """The condition for a thread of that name: two words, as bpf_get_current_comm fills them."""
    first, second = struct.unpack("<QQ", name.ljust(16, b"\0"))
    return f"SLD_SELECTS_COMM({first:#x}ULL, {second:#x}ULL)"


@NEEDS_GCC
@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("CPU 0/KVM", b"CPU 0/KVM", True),
        ("CPU 0/KVM", b"CPU 0/KV", False),
        ("CPU 0/KVM", b"CPU 0/KVMX", False),
        ("CPU 0/KVM", b"CPU 1/KVM", False),
        ("CPU*", b"CPU 7/KVM", True),
        ("CPU*", b"CPU", True),
        ("CPU*", b"CP", False),
        ("CPU*", b"XCPU", False),
        ("CPU 10/K*", b"CPU 10/KVM", True),
        ("CPU 10/K*", b"CPU 10/J", False),
        ("12345678", b"12345678", True),
        ("12345678", b"123456789", False),
        ("12345678*", b"123456789", True),
        ("*", b"anything", True),
        ("123456789012345", b"123456789012345", True),
        # The kernel cuts names at 15 bytes, so what is longer can only mean that.
        ("1234567890123456", b"123456789012345", True),
        ("1234567890123456*", b"123456789012345", True),
        ("\udcff", b"\xff", True),
        ("\N{GREEK SMALL LETTER MU}*", b"\xce\xbcVM", True),
        ('a"b\\', b'a"b\\', True),
    ],
)
def test_names(pattern: str, name: bytes, wanted: bool, tmp_path: Path) -> None:
    check(tmp_path, Filters(comm=pattern), comm(name), wanted)


TOP = 0xFFFF_FFFF_FFFF_FFFF


@NEEDS_GCC
@pytest.mark.parametrize(
    ("filters", "condition", "wanted"),
    [
        (Filters(), "SLD_SELECTS_TGID(7) && SLD_SELECTS_TID(7) && SLD_SELECTS_RIP(7ULL)", True),
        (Filters(tgids=(7, 9)), "SLD_SELECTS_TGID(7) && SLD_SELECTS_TGID(9)", True),
        (Filters(tgids=(7, 9)), "SLD_SELECTS_TGID(8)", False),
        (Filters(tgids=(7,)), "SLD_SELECTS_TID(8)", True),
        (Filters(tids=(7, 9)), "SLD_SELECTS_TID(9)", True),
        (Filters(tids=(7, 9)), "SLD_SELECTS_TID(8)", False),
        # As the probes use it, negated.
        (Filters(tgids=(7, 9)), "(!SLD_SELECTS_TGID(7) || !SLD_SELECTS_TGID(9))", False),
        (Filters(addresses=((0x4018, 0x4018),)), "SLD_SELECTS_RIP(0x4018ULL)", True),
        (Filters(addresses=((0x4018, 0x4018),)), "SLD_SELECTS_RIP(0x4019ULL)", False),
        (Filters(addresses=((0x4000, 0x4FFF),)), "SLD_SELECTS_RIP(0x4FFFULL)", True),
        (Filters(addresses=((0x4000, 0x4FFF),)), "SLD_SELECTS_RIP(0x5000ULL)", False),
        (Filters(addresses=((0x4000, 0x4FFF),)), "SLD_SELECTS_RIP(0x3FFFULL)", False),
        (Filters(addresses=((1, 2), (TOP - 1, TOP))), f"SLD_SELECTS_RIP({TOP:#x}ULL)", True),
        (Filters(addresses=((1, 2), (TOP - 1, TOP))), "SLD_SELECTS_RIP(3ULL)", False),
        (Filters(), "SLD_RECENT_NS == 1000000000", True),
        (Filters(cgroup=(1 << 40, 3)), "SLD_CGROUP == 1ULL << 40 && SLD_CGROUP_LEVEL == 3", True),
    ],
)
def test_conditions(filters: Filters, condition: str, wanted: bool, tmp_path: Path) -> None:
    check(tmp_path, filters, condition, wanted)


@pytest.mark.parametrize(
    ("filters", "name"),
    [
        (Filters(comm="x"), "SLD_SELECTS_COMM"),
        (Filters(cgroup=(1, 2)), "SLD_CGROUP"),
        (Filters(vm="x"), "SLD_BY_VM"),
    ],
)
def test_what_costs_something_is_only_compiled_in_when_wanted(filters: Filters, name: str) -> None:
    def has(given: Filters) -> bool:
        return any(flag.startswith(f"-D{name}") for flag in given.flags())

    assert has(filters)
    assert not has(Filters())


def test_as_a_fact() -> None:
    assert Filters().fact() == {}
    everything = Filters((1, 2), (3,), ((4, 5),), "c*", (6, 7), "/machine.slice", "vm")
    assert everything.fact() == {
        "pid": [1, 2],
        "tid": [3],
        "address": [[4, 5]],
        "comm": "c*",
        "cgroup": "/machine.slice",
        "vm": "vm",
    }
