"""Which signals are QEMU's own, and what is advised then."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.analyzers.finding import Finding
from sldtrace.host.signals import Code
from tests.analyzers.shorthands import one
from tests.analyzers.synthetic import MS, SIGALRM, SIGUSR1, START_NS, VCPU, VMM, facts, loop

KICK = {
    "signal": SIGUSR1,
    "signal_code": int(Code.SI_TKILL),
    "sender_tgid": VMM,
    "sender_tid": VMM,
}
SENTENCE = "QEMU's main thread makes the vCPU leave KVM_RUN"


def found(
    folder: Path,
    vmm: str | None = "qemu",
    irqchip: str | None = None,
    more: dict[str, Any] | None = None,
    **fields: Any,
) -> Finding[Any]:
    """A loop of a VM of that VMM. more: records of other kinds."""
    who = {"comm": "qemu", "vmm": vmm, "vm": None, "irqchip": irqchip}
    return one(folder, loop(30, **(KICK | fields)), opening=facts(processes={str(VMM): who}), more=more)


def advice(finding: Finding[Any]) -> str:
    return " ".join(remedy.what for remedy in finding.remedies)


def test_a_kick_of_qemu_is_named_and_the_monitor_is_what_to_change(tmp_path: Path) -> None:
    finding = found(tmp_path)
    assert finding.cause.count(SENTENCE) == 1
    assert "monitor command that reads the vCPU's registers" in advice(finding)
    assert "Leave more than 12 ms between two of them" in advice(finding)
    assert "sldtrace check names the processes that are connected" in advice(finding)
    assert "between the signals that reach this thread" not in advice(finding)
    assert "kernel-irqchip=on" not in advice(finding)


def test_how_often_the_kick_comes(tmp_path: Path) -> None:
    """From the signal records; the traps alone do not say it."""
    sent = {"ns": START_NS, "tgid": VMM, "tid": VCPU, "signal": SIGUSR1, "signal_code": int(Code.SI_TKILL)}
    sent |= {"sender_tgid": VMM, "sender_tid": VMM}
    often = {"signal": [sent | {"ns": START_NS + number * MS} for number in range(30)]}
    assert "; now the signal comes 1,000 times a second." in advice(found(tmp_path, more=often))


@pytest.mark.parametrize("irqchip", ["split", "off"])
def test_where_qemu_emulates_the_pic_that_is_what_to_change_first(tmp_path: Path, irqchip: str) -> None:
    first, second = found(tmp_path, irqchip=irqchip).remedies[1:3]
    assert first.command == "-machine kernel-irqchip=on"
    assert first.undo == f"-machine kernel-irqchip={irqchip}"
    assert "monitor" in second.what


@pytest.mark.parametrize(
    "other",
    [
        {"vmm": None},
        {"vmm": "crosvm"},
        {"signal": SIGALRM},
        {"signal_code": int(Code.SI_TIMER)},
        {"signal_code": int(Code.SI_USER)},
        {"sender_tid": VCPU},
        {"sender_tgid": 999, "sender_tid": 999},
    ],
)
def test_another_signal_gets_the_advice_for_any_program(tmp_path: Path, other: dict[str, Any]) -> None:
    finding = found(tmp_path, irqchip="split", **other)
    assert SENTENCE not in finding.cause
    assert "that reach this thread" in advice(finding)
    assert "monitor" not in advice(finding)
    assert "kernel-irqchip" not in advice(finding)
