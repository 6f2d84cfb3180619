"""What recording requires: each missing requirement is one line with its remedy."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.host import access, kallsyms, kernel

ADMIN, PERFMON, BPF = 1 << 21, 1 << 38, 1 << 39


@pytest.mark.parametrize(
    ("capabilities", "allowed"),
    [
        (0, False),
        (ADMIN, True),
        (PERFMON, False),
        (BPF, False),
        (PERFMON | BPF, True),
        ((1 << 41) - 1, True),
        (((1 << 41) - 1) & ~(ADMIN | BPF), False),
        (((1 << 41) - 1) & ~(ADMIN | PERFMON), False),
    ],
)
def test_which_capabilities_allow_tracing(capabilities: int, allowed: bool) -> None:
    assert access.may_trace(capabilities) is allowed


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n", 0x1FFFFFFFFFF),
        ("CapPrm:\t00000000000000ff\nCapEff:\t0000000000000000\n", 0),
        ("Name:\tCapEff:\n", 0),
        ("", 0),
    ],
)
def test_the_effective_set_is_read(text: str, mask: int, tmp_path: Path) -> None:
    (tmp_path / "status").write_text(text)
    assert access.effective_capabilities(tmp_path / "status") == mask


def test_the_effective_set_of_this_process() -> None:
    assert 0 <= access.effective_capabilities() < 1 << 64


def fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host where nothing is missing."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64", release="6.12.1-x"))
    monkeypatch.setattr(access, "effective_capabilities", lambda: ADMIN)
    monkeypatch.setattr(kernel, "lockdown", lambda: "integrity")
    monkeypatch.setattr(kernel, "tracefs", lambda: Path("/sys/kernel/tracing"))
    monkeypatch.setattr(kallsyms, "generation_symbols", lambda: {"handle_guest_split_lock"})


def test_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting(monkeypatch)
    access.require()


@pytest.mark.parametrize(
    ("target", "name", "value", "what", "remedy"),
    [
        (os, "uname", SimpleNamespace(machine="aarch64", release="6.1"), "aarch64", "x86 only"),
        (access, "effective_capabilities", 0, "the right to trace", "run it as root"),
        (kernel, "lockdown", "confidentiality", "locked down", "boot with lockdown=integrity or less"),
        (kernel, "tracefs", None, "tracefs is not mounted", "mount -t tracefs tracefs /sys/kernel/tracing"),
        (
            kallsyms,
            "generation_symbols",
            set(),
            "kernel 6.12.1-x has no function handle_guest_split_lock",
            "Linux 5.7",
        ),
    ],
    ids=["machine", "capabilities", "lockdown", "tracefs", "symbol"],
)
def test_each_missing_requirement_is_one_line_with_its_remedy(
    target: Any, name: str, value: Any, what: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting(monkeypatch)
    monkeypatch.setattr(target, name, lambda *_: value)
    with pytest.raises(SldtraceError) as caught:
        access.require()
    assert "\n" not in str(caught.value)
    assert what in caught.value.message
    assert remedy in str(caught.value.hint)
    assert caught.value.exit_status == 1


@pytest.mark.parametrize(
    ("paranoid", "capabilities", "refused"),
    [
        ("3\n", PERFMON | BPF, True),
        ("4\n", PERFMON | BPF, True),
        ("2\n", PERFMON | BPF, False),
        ("-1\n", PERFMON | BPF, False),
        ("3\n", PERFMON | BPF | ADMIN, False),
        ("", PERFMON | BPF, False),
    ],
)
def test_when_perf_events_are_refused(
    paranoid: str, capabilities: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "effective_capabilities", lambda: capabilities)
    (tmp_path / "paranoid").write_text(paranoid)
    assert (access.perf_events(tmp_path / "paranoid") is not None) is refused
