"""What recording needs, one by one."""

import errno
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sldtrace.capture.bpf import bcc, probes
from sldtrace.capture.bpf.probes import Probe
from sldtrace.checks import recordability
from sldtrace.checks.bootlog import BootLog
from sldtrace.checks.result import Check, Places, State
from sldtrace.errors import SldtraceError
from sldtrace.host import access, bpf, kallsyms, kernel
from sldtrace.host import btf as types
from tests.checks.hosts import DEBIAN

ALL = set(kallsyms.WATCHED)


def host(folder: Path, kprobes: bool = True, symbols: set[str] = ALL) -> Places:
    (folder / "sys/kernel").mkdir(parents=True)
    (folder / "sys/kernel/unprivileged_bpf_disabled").write_text("2\n")
    (folder / "sys/kernel/perf_event_paranoid").write_text("3\n")
    (folder / "kallsyms").write_text("".join(f"0 T {name}\n" for name in symbols))
    if kprobes:
        (folder / "sys/bus/event_source/devices/kprobe").mkdir(parents=True)
    return Places(proc=folder, sys=folder / "sys", dev=folder, root=folder)


def btf(monkeypatch: pytest.MonkeyPatch, names: set[str] | None) -> None:
    monkeypatch.setattr(types, "exists", lambda: names is not None)
    monkeypatch.setattr(types, "names", lambda wanted: set(wanted) & (names or set()))


@pytest.mark.parametrize(
    ("described", "kprobes", "symbols", "state", "said"),
    [
        (ALL, True, ALL, State.OK, "fentry for down_interruptible, handle_guest_split_lock"),
        (ALL, False, ALL, State.OK, "kprobes are not available"),
        (None, True, ALL, State.LIMIT, "no BTF"),
        (None, False, ALL, State.PROBLEM, "cannot be probed"),
        (ALL - {"split_lock_warn"}, True, ALL, State.OK, "kprobe for split_lock_warn"),
        (ALL - {"split_lock_warn"}, False, ALL, State.LIMIT, "split_lock_warn cannot be probed"),
        (ALL - {"handle_guest_split_lock"}, False, ALL, State.PROBLEM, "handle_guest_split_lock cannot"),
        (ALL, True, ALL - {"split_lock_warn"}, State.LIMIT, "this kernel has no split_lock_warn"),
    ],
)
def test_probes(
    described: set[str] | None,
    kprobes: bool,
    symbols: set[str],
    state: State,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    btf(monkeypatch, described)
    check = recordability.probes(True, host(tmp_path, kprobes, symbols))
    assert check.state is state
    assert said in check.text


def test_kprobes_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    btf(monkeypatch, None)
    places = host(tmp_path)
    (tmp_path / "sys/kernel/debug/kprobes").mkdir(parents=True)
    (tmp_path / "sys/kernel/debug/kprobes/enabled").write_text("0\n")
    check = recordability.probes(True, places)
    assert check.state is State.PROBLEM
    assert check.fixes[0].do == "echo 1 > /sys/kernel/debug/kprobes/enabled"


def test_function_tracing_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    btf(monkeypatch, ALL)
    places = host(tmp_path)
    (tmp_path / "sys/kernel/ftrace_enabled").write_text("0\n")
    check = recordability.probes(True, places)
    assert (check.state, check.fixes[0].do) == (State.LIMIT, "sysctl kernel.ftrace_enabled=1")


@pytest.mark.parametrize(
    ("privileged", "refusal", "state"),
    [
        (True, None, State.OK),
        (True, OSError(errno.EPERM, "Operation not permitted"), State.PROBLEM),
        (False, None, State.UNKNOWN),
    ],
)
def test_bpf(
    privileged: bool,
    refusal: OSError | None,
    state: State,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bpf, "refusal", lambda: refusal)
    places = host(tmp_path)
    assert recordability.bpf_programs(privileged, places).state is state
    (tmp_path / "sys/kernel/unprivileged_bpf_disabled").unlink()
    assert recordability.bpf_programs(privileged, places).state is State.PROBLEM


def test_required_checks_are_those_of_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `record` refuses is a problem here, in the same words."""
    monkeypatch.setattr(kernel, "lockdown", lambda: "confidentiality")
    lack = access.lockdown()
    assert lack is not None
    check = recordability.required("lockdown", access.lockdown, "")
    assert (check.state, check.text, check.fixes[0].do) == (State.PROBLEM, lack.message, lack.hint)


def test_tracefs_that_only_root_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "tracefs", lambda: None)
    places = host(tmp_path)
    assert recordability.tracefs(False, places).state is State.PROBLEM
    (tmp_path / "mounts").write_text("t /sys/kernel/tracing tracefs rw 0 0\n")
    assert recordability.tracefs(False, places).state is State.OK
    assert recordability.tracefs(True, places).state is State.PROBLEM
    assert recordability.tracepoints(False).state is State.UNKNOWN


def test_tracepoints_of_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "tracefs", lambda: Path("/x"))
    monkeypatch.setattr(kernel, "has_tracepoint", lambda category, name: category != "kvm")
    check = recordability.tracepoints(True)
    assert check.state is State.LIMIT
    assert check.data["missing"] == ["kvm:kvm_exit", "kvm:kvm_entry"]
    assert check.fixes[0].do == "modprobe kvm_intel"


def without_bcc(monkeypatch: pytest.MonkeyPatch, venv: bool, elsewhere: list[str]) -> Check:
    def load() -> Any:
        raise SldtraceError("the Python module bcc cannot be used (not found)")

    monkeypatch.setattr(bcc, "load", load)
    monkeypatch.setattr(recordability, "_bcc_elsewhere", lambda: elsewhere)
    monkeypatch.setattr(sys, "prefix", "/venv" if venv else "/usr")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    return recordability.bcc_module(DEBIAN)


def test_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = without_bcc(monkeypatch, False, [])
    assert (plain.state, plain.fixes[0].do) == (State.PROBLEM, "apt install python3-bpfcc")
    assert "virtual environment (/venv)" in without_bcc(monkeypatch, True, []).text
    other = without_bcc(monkeypatch, True, ["/usr/lib/python3.12/site-packages/bcc"])
    assert "installed for another Python: /usr/lib/python3.12/site-packages/bcc" in other.text
    assert "--system-site-packages" in other.fixes[0].do
    module = SimpleNamespace(__version__="0.31.0", __file__="/usr/lib/python3/dist-packages/bcc/__init__.py")
    monkeypatch.setattr(bcc, "load", lambda: module)
    found = recordability.bcc_module(DEBIAN)
    assert found.state is State.OK
    assert found.data["version"] == "0.31.0"


def test_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recordability.numpy_module(DEBIAN).state is State.OK
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert recordability.numpy_module(DEBIAN).state is State.PROBLEM


@pytest.mark.parametrize(("available", "state"), [(262144, State.OK), (262143, State.LIMIT)])
def test_memory(available: int, state: State, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {available} kB\n")
    assert recordability.memory(Places(proc=tmp_path)).state is state
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\n")
    assert recordability.memory(Places(proc=tmp_path)).state is State.UNKNOWN


@pytest.mark.parametrize(("free", "state"), [(100 << 20, State.OK), ((100 << 20) - 1, State.LIMIT)])
def test_disk(free: int, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert recordability.disk(tmp_path).state is state


@pytest.mark.parametrize(
    ("link", "state"),
    [("pid:[4026531836]", State.OK), ("pid:[4026532999]", State.LIMIT), (None, State.UNKNOWN)],
)
def test_pid_namespace(link: str | None, state: State, tmp_path: Path) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    if link:
        (tmp_path / "self/ns/pid").symlink_to(link)
    assert recordability.pid_namespace(Places(proc=tmp_path)).state is state


def test_settings_that_people_suspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "effective_capabilities", lambda: 1 << access.CAP_SYS_ADMIN)
    check = recordability.settings(True, host(tmp_path))
    assert check.text.startswith("unprivileged_bpf_disabled=2, perf_event_paranoid=3: none of them restricts")
    assert check.data["kptr_restrict"] is None


def test_a_setting_that_restricts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CAP_BPF and CAP_PERFMON are not enough for perf_event_open on Debian."""
    monkeypatch.setattr(
        access, "effective_capabilities", lambda: 1 << access.CAP_BPF | 1 << access.CAP_PERFMON
    )
    check = recordability.settings(True, host(tmp_path))
    assert check.state is State.LIMIT
    assert check.fixes[0].do.startswith("sysctl kernel.perf_event_paranoid=2")


def test_all_of_them_run_here() -> None:
    """On whatever host the tests run, each says something, once."""
    found = list(recordability.checks(Places(), DEBIAN, BootLog(readable=False)))
    assert len({check.name for check in found}) == len(found) == 15
    assert all(check.text for check in found)
    assert os.getcwd() in found[-2].text
    assert found[-1].name == "trial"


@pytest.mark.parametrize(
    ("mode", "locked", "state", "said"),
    [
        ("none", "", State.OK, "no lockdown"),
        ("integrity", "", State.OK, "allows tracing"),
        ("unknown", "", State.UNKNOWN, "not visible"),
        ("unknown", "Kernel is locked down from EFI Secure Boot", State.UNKNOWN, "EFI Secure Boot"),
    ],
)
def test_lockdown_that_is_not_visible_is_unknown(mode: str, locked: str, state: State, said: str) -> None:
    check = recordability.lockdown(mode, BootLog(True, locked_down=locked))
    assert (check.state, said in check.text) == (state, True)


class Loaded:
    """What probes.load returns, as far as the trial uses it."""

    def __init__(self, *attached: Probe) -> None:
        self.attached = list(attached)
        self.done: list[str] = []

    def arm(self) -> None:
        self.done.append("arm")

    def close(self) -> None:
        self.done.append("close")


def test_the_trial_is_what_record_does(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Loaded(Probe("handle_guest_split_lock", "fentry"))
    monkeypatch.setattr(probes, "load", lambda *_: loaded)
    check = recordability.trial(True, [])
    assert (check.state, loaded.done) == (State.OK, ["arm", "close"])
    assert check.data["probes"][0]["backend"] == "fentry"
    loaded.attached.append(Probe("kvm:kvm_exit", "", "this kernel does not have it now"))
    check = recordability.trial(True, [])
    assert (check.state, "all but kvm:kvm_exit (this kernel" in check.text) == (State.LIMIT, True)


def test_a_kernel_that_refuses_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SldtraceError("handle_guest_split_lock cannot be probed: Operation not permitted", "why")

    monkeypatch.setattr(probes, "load", refuse)
    check = recordability.trial(True, [])
    assert check.state is State.PROBLEM
    assert "cannot start: handle_guest_split_lock cannot be probed" in check.text
    assert check.fixes[0].do == "why"


def test_what_is_not_tried_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "load", lambda *_: pytest.fail("tried"))
    assert recordability.trial(False, []).state is State.UNKNOWN
    check = recordability.trial(True, ["tracefs", "bcc"])
    assert (check.state, check.text) == (State.UNKNOWN, "not tried, because of: tracefs, bcc")
