"""Tracepoints as tracefs describes them: the texts in data/tracefs are those of the kernels of the lab."""

from pathlib import Path

import pytest

from lab.kernel import DEFAULT, KERNELS
from sldtrace.host import kernel, tracepoints

TRACEFS = Path(__file__).parent / "data" / "tracefs"
COMMON = {"common_type", "common_flags", "common_preempt_count", "common_pid"}
EXIT = {"exit_reason", "guest_rip", "isa", "info1", "info2", "intr_info", "error_code", "vcpu_id"}
FIELDS = {
    "kvm:kvm_exit": EXIT,
    "sched:sched_process_exec": {"filename", "pid", "old_pid"},
    "sched:sched_migrate_task": {"comm", "pid", "prio", "orig_cpu", "dest_cpu"},
    "signal:signal_generate": {"sig", "errno", "code", "comm", "pid", "group", "result"},
}


@pytest.mark.parametrize("name_in_lab", KERNELS)
@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_real_tracepoints(name_in_lab: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "tracefs", lambda: TRACEFS / name_in_lab)
    more = KERNELS[name_in_lab].exit_fields if name == "kvm:kvm_exit" else frozenset()
    assert tracepoints.fields(name) == frozenset(COMMON | FIELDS[name] | more)


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("void * lock_addr", "lock_addr"),
        ("char *name", "name"),
        ("const char * const names[2]", "names"),
        ("__data_loc char[] comm", "comm"),
        ("unsigned long error_code[2]", "error_code"),
        ("bool immediate_exit", "immediate_exit"),
    ],
)
def test_declarations_of_every_kind(declared: str, name: str) -> None:
    assert tracepoints.parse_fields(f"\tfield:{declared};\toffset:8;\tsize:8;\tsigned:0;\n") == {name}


def test_what_is_no_field_is_none() -> None:
    text = 'name: x\nID: 1\nformat:\n\nprint fmt: "field:int a;\toffset:8;\tsize:4;"\n'
    assert tracepoints.parse_fields(text) == set()


def test_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "tracefs", lambda: TRACEFS / "6.1")
    assert tracepoints.identifier("sched:sched_process_exec") == 307


@pytest.mark.parametrize("root", [TRACEFS / DEFAULT, TRACEFS / "nowhere", None])
def test_a_tracepoint_that_there_is_none_of(root: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "tracefs", lambda: root)
    assert tracepoints.identifier("kvm:kvm_nothing") is None
    assert tracepoints.fields("kvm:kvm_nothing") is None
