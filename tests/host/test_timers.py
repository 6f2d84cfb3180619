"""Timers as /proc shows them."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sldtrace.host import timers
from sldtrace.host.timers import Armed, PosixTimer

TIMERS = """\
ID: 0
signal: 10/0000000000000000
notify: signal/tid.508
ClockID: 1
ID: 17
signal: 60/00007fff86e452a8
notify: signal/pid.2634
ClockID: 0
ID: 2
signal: 14/0000000000000000
notify: none/pid.2634
ClockID: -6
"""


def test_posix_timers(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "timers").write_text(TIMERS)
    found = timers.posix(7, tmp_path)
    assert found == [
        PosixTimer(0, 10, "signal", True, 508, "CLOCK_MONOTONIC"),
        PosixTimer(17, 60, "signal", False, 2634, "CLOCK_REALTIME"),
        PosixTimer(2, 14, "none", False, 2634, "CPU time"),
    ]
    assert [one.signals for one in found] == [True, True, False]
    (tmp_path / "7" / "timers").write_text("")
    assert timers.posix(7, tmp_path) == []
    assert timers.posix(8, tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/timers").exists(), reason="needs CONFIG_CHECKPOINT_RESTORE")
def test_a_real_timer() -> None:
    class Event(ctypes.Structure):
        _fields_ = (("value", ctypes.c_uint64), ("signo", ctypes.c_int), ("notify", ctypes.c_int))
        _pack_ = 1
        _layout_ = "ms"

    event = ctypes.create_string_buffer(64)
    made = Event(0, signal.SIGUSR1, 0)
    ctypes.memmove(event, ctypes.byref(made), ctypes.sizeof(made))
    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.c_void_p()
    before = len(timers.posix(os.getpid()) or [])
    assert libc.timer_create(1, event, ctypes.byref(handle)) == 0, os.strerror(ctypes.get_errno())
    try:
        (*_, found) = timers.posix(os.getpid()) or []
        assert (found.signal, found.notify, found.to_thread) == (signal.SIGUSR1, "signal", False)
        assert (found.target, found.clock) == (os.getpid(), "CLOCK_MONOTONIC")
    finally:
        libc.timer_delete(handle)
    assert len(timers.posix(os.getpid()) or []) == before


TIMER_LIST = """\
Timer List Version: v0.10
active timers:
 #0: <000000006242fffc>, tick_nohz_handler, S:01
 # expires at 11598032000000-11598032000000 nsecs [in 2888057 to 2888057 nsecs]
 #1: <00000000e5a0ad5d>, it_real_fn, S:01
 # expires at 11598224163544-11598224163544 nsecs [in 195051601 to 195051601 nsecs]
 #2: <00000000c2927742>, posix_timer_fn, S:01
 #3: <00000000c2927743>, my_posix_timer_fn_2, S:01
 #12: <00000000c2927744>, posix_timer_fn, S:01
"""


def test_armed_timers_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "timer_list").write_text(TIMER_LIST)
    assert timers.armed(tmp_path / "timer_list") == Armed(posix=2, interval=1)
    assert timers.armed(tmp_path / "none") is None


@pytest.mark.skipif(not os.access("/proc/timer_list", os.R_OK), reason="needs root")
def test_a_real_alarm_is_seen() -> None:
    before = timers.armed()
    code = "import signal; signal.setitimer(signal.ITIMER_REAL, 1000); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        during = timers.armed()
        process.kill()
    assert before is not None
    assert during is not None
    assert during.interval >= 1


@pytest.mark.parametrize(
    ("number", "name"), [(0, "CLOCK_REALTIME"), (1, "CLOCK_MONOTONIC"), (11, "clock 11"), (-6, "CPU time")]
)
def test_clocks(number: int, name: str) -> None:
    assert timers.clock_name(number) == name
