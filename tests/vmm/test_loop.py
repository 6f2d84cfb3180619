"""The run loop of a vCPU, on one that is scripted: what it counts, how it ends, what it says."""

import ctypes
import errno
import threading
from typing import Any

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.host.exits import UserExit
from sldtrace.vmm import abi, libc, loop
from sldtrace.vmm.plan import VcpuResult


class Scripted:
    """A vCPU without KVM: KVM_RUN is the next of `enters`, an errno or 0 for an exit; its exit is `state`."""

    fd = -1

    def __init__(self, monkeypatch: pytest.MonkeyPatch, enters: list[int], reason: int = UserExit.IO):
        self._state = abi.Run(exit_reason=reason)
        self._enters = iter(enters)
        self.port = ctypes.c_uint32(0)
        self.steps: list[str] = []
        monkeypatch.setattr(libc, "releasing_gil", lambda *arguments: self._enter)

    def _enter(self) -> int:
        self.steps.append("enter")
        error = next(self._enters)
        if not error:
            self.port.value += 1000
        ctypes.set_errno(error)
        return -1 if error else 0

    def state(self) -> abi.Run:
        return self._state

    def output(self) -> ctypes.c_uint32:
        return self.port

    def regs(self) -> abi.Regs:
        return abi.Regs(rip=0x4018)


class Kick:
    """Notes when it is armed and drained; after `ends` signals the loop is to stop."""

    def __init__(self, steps: list[str], stopping: threading.Event, ends: int):
        self._steps, self._stopping, self._ends = steps, stopping, ends

    def arm(self) -> None:
        self._steps.append("arm")

    def drain(self) -> None:
        self._steps.append("drain")
        if self._steps.count("drain") == self._ends:
            self._stopping.set()

    def close(self) -> None:
        raise AssertionError("not the loop's to do")


class Clobber:
    """A watch whose own calls set errno."""

    checks, mismatches, retries = 3, 1, 7

    def look(self) -> None:
        ctypes.set_errno(errno.ENOENT)


def run(vcpu: Any, ends: int = 1, watch: loop.Watch | None = None) -> VcpuResult:
    stopping = threading.Event()
    return loop.run(vcpu, 0x4018, Kick(vcpu.steps, stopping, ends), stopping, watch)


def test_every_call_is_counted_and_the_signal_is_taken_only_when_there_was_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vcpu = Scripted(monkeypatch, [errno.EINTR, 0, 0, errno.EINTR])
    result = run(vcpu, ends=2)
    assert (result.kvm_runs, result.eintr, result.io_exits, result.rip) == (4, 2, 2, 0x4018)
    assert vcpu.steps == [*("arm", "enter", "drain"), *("arm", "enter") * 2, *("arm", "enter", "drain")]
    assert result.tid == threading.get_native_id()


def test_what_the_guest_wrote_last_is_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(Scripted(monkeypatch, [0, 0, 0, errno.EINTR]))
    assert result.reported == 3000
    assert result.reported_ns is not None
    silent = run(Scripted(monkeypatch, [errno.EINTR]))
    assert (silent.reported, silent.reported_ns) == (None, None)


def test_a_watch_does_not_hide_why_the_run_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(Scripted(monkeypatch, [errno.EINTR]), watch=Clobber())
    assert (result.eintr, result.cpu_checks, result.cpu_mismatches, result.cpu_retries) == (1, 3, 1, 7)


def test_another_errno_of_kvm_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SldtraceError, match=r"KVM_RUN with the guest at 0x4018 failed: .* \(EFAULT\)"):
        run(Scripted(monkeypatch, [errno.EFAULT]))


def test_an_exit_that_is_not_the_ports_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SldtraceError, match="triple fault"):
        run(Scripted(monkeypatch, [0], UserExit.SHUTDOWN))
