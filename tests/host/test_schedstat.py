"""Times of a thread from /proc and cgroup v2; nothing where there is nothing."""

import os
import threading
from pathlib import Path

import pytest

from sldtrace.host import schedstat
from sldtrace.host.schedstat import RunTimes


@pytest.fixture
def host(tmp_path: Path) -> tuple[Path, Path]:
    """A /proc with the thread 71 of the process 70, and its cgroups."""
    task = tmp_path / "proc/70/task/71"
    task.mkdir(parents=True)
    (task / "schedstat").write_text("5000 300 12\n")
    (task / "cgroup").write_text("3:cpuset:/other\n0::/machine.slice/web.scope/vcpu0\n")
    for path, text in (
        ("machine.slice", "usage_usec 9\nnr_throttled 0\nthrottled_usec 0\n"),
        ("machine.slice/web.scope", "nr_throttled 3\nthrottled_usec 40\n"),
        ("machine.slice/web.scope/vcpu0", "nr_throttled 1\nthrottled_usec 2\n"),
    ):
        folder = tmp_path / "cgroup" / path
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "cpu.stat").write_text(text)
    return tmp_path / "proc", tmp_path / "cgroup"


def test_quotas_of_all_levels_count(host: tuple[Path, Path]) -> None:
    known: dict[str, int] = {}
    assert schedstat.read(70, 71, known, *host) == RunTimes(5000, 300, 42_000)
    assert known == {"/machine.slice/web.scope/vcpu0": 42_000}
    (host[1] / "machine.slice/cpu.stat").write_text("throttled_usec 9\n")
    assert schedstat.read(70, 71, known, *host) == RunTimes(5000, 300, 42_000)  # read once
    assert schedstat.read(70, 71, {}, *host) == RunTimes(5000, 300, 51_000)


@pytest.mark.parametrize("text", ["0::/\n", "1:cpu:/a\n", "0::/gone\n"])
def test_no_cgroup_with_a_quota(text: str, host: tuple[Path, Path]) -> None:
    (host[0] / "70/task/71/cgroup").write_text(text)
    assert schedstat.read(70, 71, {}, *host) == RunTimes(5000, 300, 0)


@pytest.mark.parametrize("text", ["", "0 0\n", "a b c\n"])
def test_a_kernel_without_schedstat(text: str, host: tuple[Path, Path]) -> None:
    (host[0] / "70/task/71/schedstat").write_text(text)
    assert schedstat.read(70, 71, {}, *host) is None


def test_a_thread_that_has_ended(host: tuple[Path, Path]) -> None:
    assert schedstat.read(70, 72, {}, *host) is None
    assert schedstat.read(72, 72, {}, *host) is None


def test_this_thread_has_run() -> None:
    found = schedstat.read(os.getpid(), threading.get_native_id(), {})
    if found is None:
        pytest.skip("this kernel has no schedstat")
    assert found.run_ns > 0
