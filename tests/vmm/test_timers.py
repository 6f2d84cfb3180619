"""The timer and the signals of a vCPU thread, without a virtual machine."""

import errno
import os
import signal
import threading
import time

import pytest

from sldtrace.vmm import signals
from sldtrace.vmm.timers import NoTimer, PosixTimer

SIGNO = signal.SIGUSR1


def wait_until_pending() -> None:
    # A bound, not a measurement: the timer is to fire after a microsecond.
    end = time.monotonic() + 30
    while SIGNO not in signal.sigpending():
        assert time.monotonic() < end, "the timer's signal never came"


def test_signal_comes_to_the_blocked_thread_and_is_drained() -> None:
    with signals.blocked(SIGNO):
        timer = PosixTimer(1000, SIGNO, threading.get_native_id())
        try:
            for _ in range(3):
                timer.arm()
                wait_until_pending()
                timer.drain()
                assert SIGNO not in signal.sigpending()
        finally:
            timer.close()


def test_one_shot_stays_away_until_armed_and_the_sender_is_a_timer() -> None:
    with signals.blocked(SIGNO):
        timer = PosixTimer(1000, SIGNO, threading.get_native_id())
        timer.arm()
        info = signal.sigwaitinfo({SIGNO})
        assert info.si_code == -2  # SI_TIMER, include/uapi/asm-generic/siginfo.h
        assert signal.sigtimedwait({SIGNO}, 0.02) is None
        timer.close()


def test_close_takes_a_pending_signal_which_would_kill_us_afterwards() -> None:
    with signals.blocked(SIGNO):
        timer = PosixTimer(1000, SIGNO, threading.get_native_id())
        timer.arm()
        wait_until_pending()
        timer.close()
        timer.close()
        assert SIGNO not in signal.sigpending()
    assert SIGNO not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_the_end_without_a_timer_counts_from_the_first_run_and_not_from_the_second() -> None:
    with signals.blocked(SIGNO):
        timer = NoTimer(50_000_000, SIGNO, threading.get_native_id())
        time.sleep(0.1)  # the run begins late: what was armed at the making is over
        timer.drain()
        begin = time.monotonic_ns()
        timer.arm()
        timer.arm()
        assert signal.sigtimedwait({SIGNO}, 30) is not None
        assert time.monotonic_ns() - begin >= 50_000_000
        timer.close()


def test_drain_without_a_signal_returns() -> None:
    with signals.blocked(SIGNO):
        timer = PosixTimer(3600 * 10**9, SIGNO, threading.get_native_id())
        timer.drain()
        timer.close()


def test_a_thread_that_does_not_exist_is_an_error_in_one_line() -> None:
    from sldtrace.errors import SldtraceError

    with pytest.raises(SldtraceError, match=rf"timer_create failed: .*\({errno.errorcode[errno.EINVAL]}\)"):
        PosixTimer(1000, SIGNO, 2**22 + 1)  # above PID_MAX_LIMIT


def test_mask_for_kvm_run_lets_the_kick_and_sigbus_through_and_keeps_the_rest() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGBUS})
    try:
        inherited = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        with signals.blocked(SIGNO) as mask:
            now = signal.pthread_sigmask(signal.SIG_BLOCK, set())
            assert SIGNO in now
            assert signal.SIGBUS not in now
            assert mask >> (signal.SIGHUP - 1) & 1
            assert not mask >> (SIGNO - 1) & 1
            assert not mask >> (signal.SIGBUS - 1) & 1
        assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == inherited
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_handlers_are_put_back() -> None:
    seen: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with signals.handled(lambda number, frame: seen.append(number), signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before
