"""The example VMM in C: compiles without a warning, and runs on a KVM on which nothing traps."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sldtrace.host import split_lock
from sldtrace.vmm.kvm import DEVICE

SOURCE = Path(__file__).parents[2] / "examples" / "vmm" / "loop.c"

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vmm") / "loop"
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", path, SOURCE], check=True)
    return path


@pytest.mark.skipif(not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"{DEVICE} is missing or not allowed")
@pytest.mark.skipif(split_lock.read().detects_split_locks, reason="split locks may trap on this host")
@pytest.mark.parametrize("how", ["naive", "defer", "cputime"])
def test_each_way_progresses_where_nothing_traps(program: Path, how: str) -> None:
    done = subprocess.run([program, how, "0.3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, loops, *_ = done.stdout.split()
    assert name == how
    assert int(loops) > 0


@pytest.mark.parametrize("arguments", [[], ["fast"], ["naive", "0"], ["naive", "x"]])
def test_usage(program: Path, arguments: list[str]) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "usage: loop naive|defer|cputime [SECONDS]\n"
