"""Facts about the kernel from fake files: symbols, BTF, tracepoints, lockdown."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.host import kernel


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
def test_tick_is_the_resolution_of_the_coarse_clock(hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def resolution(clock: int) -> float:
        asked.append(clock)
        return round(1e9 / hz) / 1e9

    monkeypatch.setattr(time, "clock_getres", resolution)
    assert kernel.tick_ns() == round(1e9 / hz)
    assert asked == [6]


def test_tick_of_this_machine_is_within_what_kernels_have() -> None:
    assert 100 <= round(1e9 / kernel.tick_ns()) <= 1200


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.12.107+deb13-cloud-amd64", (6, 12)),
        ("5.19.0-46-generic", (5, 19)),
        ("6.1", (6, 1)),
        ("10.20-rc3", (10, 20)),
        ("", (0, 0)),
        ("6", (0, 0)),
        ("v6.12", (0, 0)),
    ],
)
def test_version(release: str, version: tuple[int, int]) -> None:
    assert kernel.version(release) == version


@given(st.integers(0, 99), st.integers(0, 999), st.text(st.characters(exclude_categories=["Nd"]), max_size=9))
def test_version_of_any_release(major: int, minor: int, rest: str) -> None:
    assert kernel.version(f"{major}.{minor}{rest}") == (major, minor)


def test_release_is_that_of_uname(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release="6.6.6-odd"))
    assert kernel.release() == "6.6.6-odd"


def test_a_tracepoint_is_a_folder_with_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = tmp_path / "events" / "kvm" / "kvm_exit"
    event.mkdir(parents=True)
    monkeypatch.setattr(kernel, "tracefs", lambda: tmp_path)
    assert not kernel.has_tracepoint("kvm", "kvm_exit")
    (event / "format").write_text("name: kvm_exit\n")
    assert kernel.has_tracepoint("kvm", "kvm_exit")
    assert not kernel.has_tracepoint("kvm", "kvm_entry")
    assert not kernel.has_tracepoint("kvm_exit", "kvm_exit")
    monkeypatch.setattr(kernel, "tracefs", lambda: None)
    assert not kernel.has_tracepoint("kvm", "kvm_exit")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        ("none integrity [confidentiality]\n", "confidentiality"),
        ("garbage\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_lockdown(text: str | None, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lockdown"
    if text is not None:
        file.write_text(text)
    real = Path
    monkeypatch.setattr(
        kernel, "Path", lambda path: file if path == "/sys/kernel/security/lockdown" else real(path)
    )
    assert kernel.lockdown() == mode


@pytest.mark.parametrize(
    ("mounted", "found"),
    [
        ({"/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"}, "/sys/kernel/tracing"),
        ({"/sys/kernel/debug/tracing/events"}, "/sys/kernel/debug/tracing"),
        (set(), None),
    ],
)
def test_tracefs(mounted: set[str], found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) in mounted and mode == os.R_OK | os.X_OK)
    assert kernel.tracefs() == (Path(found) if found else None)


@pytest.mark.parametrize(
    ("text", "count"), [("0\n", 1), ("0-3\n", 4), ("0-3,8-11\n", 12), ("0,2,4-5\n", 6), ("0-287\n", 288)]
)
def test_possible_cpus(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "possible").write_text(text)
    assert kernel.possible_cpus(tmp_path / "possible") == count
