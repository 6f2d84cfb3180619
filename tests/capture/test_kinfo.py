"""Where the kernel's count of skipped runs lies: against the kernel's own header, and as it is read."""

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sldtrace.capture import kinfo

OFFSETS = """
#include <stddef.h>
#include <stdio.h>
#include <linux/bpf.h>
int main(void)
{
	printf("%zu %zu", offsetof(struct bpf_prog_info, recursion_misses), sizeof(struct bpf_prog_info));
	return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_field_lies_where_the_kernels_header_has_it(tmp_path: Path) -> None:
    (tmp_path / "offsets.c").write_text(OFFSETS)
    built = subprocess.run(
        ["gcc", "offsets.c", "-o", "offsets"], cwd=tmp_path, capture_output=True, text=True
    )
    if "recursion_misses" in built.stderr or "linux/bpf.h" in built.stderr:
        pytest.skip("the installed kernel headers are too old or missing")
    assert built.returncode == 0, built.stderr
    told = subprocess.run([tmp_path / "offsets"], capture_output=True, text=True, check=True).stdout
    offset, size = map(int, told.split())
    assert offset == kinfo._RECURSION_MISSES
    assert offset + 8 <= kinfo._SIZE <= size


class FakeLib:
    """libbcc on a kernel that fills in the first `known` bytes; `fails`: one that refuses."""

    def __init__(self, known: int, fails: bool = False) -> None:
        self._known, self._fails = known, fails

    def bpf_obj_get_info(self, fd: int, info: Any, size: Any) -> int:
        assert fd == 7
        if self._fails:
            return -1
        content = bytearray(b"\xff" * 208 + struct.pack("<Q", 0x1_2345_6789) + b"\xff" * 100)
        length = min(self._known, size._obj.value)
        ctypes.memmove(info, bytes(content[:length]), length)
        size._obj.value = length
        return 0


@pytest.mark.parametrize(
    ("library", "count"),
    [(FakeLib(1000), 0x1_2345_6789), (FakeLib(216), 0x1_2345_6789), (FakeLib(208), 0), (FakeLib(0, True), 0)],
    ids=["newer", "5.12", "5.11", "refused"],
)
def test_the_count(library: FakeLib, count: int) -> None:
    assert kinfo.recursion_misses(library, 7) == count
