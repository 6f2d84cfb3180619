"""What kicks a vCPU's thread, without a virtual machine."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.vmm import abi, signals
from sldtrace.vmm.kicks import Flag, PosixTimer, Sender
from tests.waiting import HANG_S, until

SIGNO = signal.SIGUSR1
MS = 1_000_000


@pytest.fixture(autouse=True)
def blocked() -> Iterator[None]:
    """SIGUSR1 stays pending; what is left of it is taken at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNO})
    yield
    if SIGNO in signal.sigpending():
        signal.sigwait({SIGNO})
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait_until_pending() -> None:
    until(lambda: SIGNO in signal.sigpending(), "the signal")


def test_signal_comes_to_the_blocked_thread_and_is_drained() -> None:
    timer = PosixTimer(1000, SIGNO, threading.get_native_id())
    for _ in range(3):
        timer.arm()
        wait_until_pending()
        timer.drain()
        assert SIGNO not in signal.sigpending()
    timer.close()


def test_one_shot_stays_away_until_armed_and_the_sender_is_a_timer() -> None:
    timer = PosixTimer(1000, SIGNO, threading.get_native_id())
    timer.arm()
    info = signal.sigwaitinfo({SIGNO})
    assert info.si_code == -2  # SI_TIMER, include/uapi/asm-generic/siginfo.h
    assert signal.sigtimedwait({SIGNO}, 0.02) is None
    timer.close()


def test_a_periodic_timer_comes_again_without_being_armed() -> None:
    timer = PosixTimer(MS, SIGNO, threading.get_native_id(), periodic=True)
    for _ in range(3):
        assert signal.sigtimedwait({SIGNO}, HANG_S) is not None
    timer.close()
    assert signal.sigtimedwait({SIGNO}, 0.02) is None


def test_close_takes_a_pending_signal_which_would_kill_us_afterwards() -> None:
    timer = PosixTimer(1000, SIGNO, threading.get_native_id())
    timer.arm()
    wait_until_pending()
    timer.close()
    timer.close()
    assert SIGNO not in signal.sigpending()


def test_drain_without_a_signal_returns() -> None:
    timer = PosixTimer(3600 * 10**9, SIGNO, threading.get_native_id())
    timer.drain()
    timer.close()


def test_a_thread_that_does_not_exist_is_an_error_in_one_line() -> None:
    with pytest.raises(SldtraceError, match=rf"timer_create failed: .*\({errno.errorcode[errno.EINVAL]}\)"):
        PosixTimer(1000, SIGNO, 2**22 + 1)  # above PID_MAX_LIMIT


def test_an_interval_timer_sends_sigalrm_until_it_is_stopped() -> None:
    """In a process of its own: the signal goes to any thread that has it open, and would end the process."""
    code = f"""
import signal
from sldtrace.vmm.kicks import IntervalTimer, Pending
from tests.waiting import until
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGALRM}})
timer, pending = IntervalTimer({MS}), Pending(signal.SIGALRM)
timer.start()
for _ in range(2):
    until(lambda: signal.SIGALRM in signal.sigpending(), "the signal")
    pending.drain()
timer.stop()
pending.close()
assert signal.sigtimedwait({{signal.SIGALRM}}, 0.02) is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("flagged", [False, True])
def test_a_sender_reaches_the_thread_by_tgkill_and_sets_the_flag_before(flagged: bool) -> None:
    state = abi.Run()
    sender = Sender(MS, SIGNO, [threading.get_ident()], [state] if flagged else [])
    sender.start()
    try:
        for _ in range(2):
            info = signal.sigtimedwait({SIGNO}, HANG_S)
            assert info is not None
            assert info.si_pid == os.getpid()  # a timer's signal has none
            assert info.si_code <= 0  # SI_TKILL, or of some kernels SI_USER
            assert state.immediate_exit == flagged
    finally:
        sender.stop()
        sender.stop()
    Flag(state).drain()
    signal.sigtimedwait({SIGNO}, 0)
    assert signal.sigtimedwait({SIGNO}, 0.02) is None
    assert state.immediate_exit == 0


def test_mask_for_kvm_run_lets_the_kick_and_faults_through_and_nothing_else() -> None:
    mask = signals.all_but(SIGNO)
    through = {number for number in signal.valid_signals() if not mask >> (number - 1) & 1}
    faults = {"SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"}
    assert {signal.Signals(number).name for number in through} == faults | {"SIGUSR1"}
    assert mask < 2**64


def test_handlers_are_put_back() -> None:
    seen: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with signals.handled(lambda number, frame: seen.append(number), signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before
