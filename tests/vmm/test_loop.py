"""The run loop: on a real KVM where there is one, and its endings on a vCPU that is scripted."""

import ctypes
import errno
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.host import splitlock
from sldtrace.vmm import abi, guests, libc, memory
from sldtrace.vmm.loop import Outcome, run
from sldtrace.vmm.machine import DEVICE, Machine
from sldtrace.vmm.timers import PosixTimer

MS = 1_000_000
SIGNO = signal.SIGUSR1

needs_kvm = pytest.mark.skipif(
    not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"{DEVICE} is missing or may not be opened"
)


def run_guest(name: str, timeout_ns: int = MS, duration_ns: int = 100 * MS) -> Outcome:
    guest = guests.load(name)
    with Machine(guest) as machine:
        return run(machine, guest, partial(PosixTimer, timeout_ns), SIGNO, duration_ns)


@needs_kvm
@pytest.mark.skipif(splitlock.read().detects_split_locks, reason="split locks may trap on this host")
@pytest.mark.parametrize("name", ["split-bts", "aligned-bts"])
def test_progress_where_nothing_traps(name: str) -> None:
    outcome = run_guest(name)
    assert outcome.loops > 0
    assert outcome.kvm_runs == outcome.eintr > 1
    assert outcome.ran_ns >= 100 * MS
    assert 0 < outcome.longest_run_ns <= outcome.ran_ns
    assert not outcome.interrupted
    locked = guests.load(name).locked
    assert locked <= outcome.rip < locked + 10  # the loop has ten bytes


@needs_kvm
def test_the_timer_is_relative_to_each_run() -> None:
    # However slow the host is, no KVM_RUN is ended by the timer before its time.
    outcome = run_guest("aligned-bts", timeout_ns=20 * MS)
    assert outcome.kvm_runs <= outcome.ran_ns // (20 * MS)
    assert outcome.longest_run_ns > 19 * MS


@needs_kvm
def test_guest_starts_as_the_abi_says() -> None:
    guest = guests.load("split-bts")
    with Machine(guest) as machine:
        regs = machine.regs()
        assert (regs.rip, regs.rdi, regs.rsi) == (guest.start, 0, guest.operand)
        assert (regs.rdx, regs.rsp) == (memory.COUNTER, memory.STACK_TOP)


@needs_kvm
def test_interrupt_gives_the_results_so_far_and_the_signals_are_as_before() -> None:
    handler = signal.getsignal(signal.SIGINT)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    outcome = run_guest("aligned-bts", duration_ns=3600 * 1000 * MS)
    assert outcome.interrupted
    assert outcome.kvm_runs == outcome.eintr > 0
    assert signal.getsignal(signal.SIGINT) is handler
    assert SIGNO not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


@needs_kvm
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (b"\x0f\x0b", "triple fault"),  # ud2, and there is no handler
        (b"\xf4", "KVM_EXIT_HLT"),
        (
            b"\x48\xc7\xc0\x00\x00\x10\x00\x48\x89\x18",
            "touched 0x100000",
        ),  # mov $1<<20, %rax; mov %rbx, (%rax)
    ],
)
def test_a_guest_that_leaves_is_explained(code: bytes, words: str) -> None:
    bundled = guests.load("split-bts")
    offset = bundled.start - memory.CODE
    image = bundled.image[:offset] + code
    guest = guests.Guest("bad", "", (), image, bundled.start, bundled.locked, bundled.operand, bundled.width)
    with Machine(guest) as machine, pytest.raises(SldtraceError, match=words):
        run(machine, guest, partial(PosixTimer, 1000 * MS), SIGNO, 2000 * MS)


@needs_kvm
def test_a_machine_gives_its_descriptors_back() -> None:
    before = os.listdir("/proc/self/fd")
    guest = guests.load("split-bts")
    with Machine(guest) as machine:
        assert len(os.listdir("/proc/self/fd")) > len(before)
    machine.close()
    assert os.listdir("/proc/self/fd") == before


class Scripted:
    """A machine without KVM: KVM_RUN is `enter`, its exit is `state`."""

    vcpu = -1
    memory = SimpleNamespace(counter=lambda: 7)

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, enter: Callable[[], int], state: abi.Run | None = None
    ):
        self._state = state or abi.Run()
        monkeypatch.setattr(libc, "waiting", lambda *arguments: enter)

    def set_signal_mask(self, sigset: int) -> None:
        assert not sigset >> (SIGNO - 1) & 1

    def regs(self) -> abi.Regs:
        return abi.Regs(rip=0x4018)

    def exit(self) -> abi.Run:
        return self._state


def run_scripted(machine: Any, duration_ns: int = 3600 * 1000 * MS) -> Outcome:
    return run(machine, guests.load("split-bts"), partial(PosixTimer, 1000 * MS), SIGNO, duration_ns)


def test_every_call_and_every_eintr_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(10))

    def enter() -> int:
        if next(calls) == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        ctypes.set_errno(errno.EINTR)
        return -1

    outcome = run_scripted(Scripted(monkeypatch, enter))
    assert (outcome.kvm_runs, outcome.eintr, outcome.loops, outcome.rip) == (10, 10, 7, 0x4018)
    assert outcome.interrupted


def test_fatal_mode_is_explained_instead_of_killing_us(monkeypatch: pytest.MonkeyPatch) -> None:
    # What vmx.c does with split_lock_detect=fatal: SIGBUS to the thread, and KVM_RUN returns 0.
    state = abi.Run(exit_reason=abi.Exit.EXCEPTION)
    state.ex.exception = 17

    def enter() -> int:
        signal.pthread_kill(threading.get_ident(), signal.SIGBUS)
        return 0

    with pytest.raises(SldtraceError, match=r"0x4018 with SIGBUS.*split_lock_detect=fatal"):
        run_scripted(Scripted(monkeypatch, enter, state))
    assert signal.getsignal(signal.SIGBUS) == signal.SIG_DFL


def test_another_errno_of_kvm_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def enter() -> int:
        ctypes.set_errno(errno.EFAULT)
        return -1

    with pytest.raises(SldtraceError, match=r"KVM_RUN with the guest at 0x4018 failed: .* \(EFAULT\)"):
        run_scripted(Scripted(monkeypatch, enter))
