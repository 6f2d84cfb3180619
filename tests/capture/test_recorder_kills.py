"""kill -9 at fifty moments: the file opens, and has all but what came in the last rounds.

A moment is a line of sldtrace that is about to run, and the recorder's clock goes by rounds: on every machine
the same moments are tried.
"""

import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np

import sldtrace
from sldtrace.capture import recorder
from tests.analyzers.synthetic import MS, array, early
from tests.capture.session import Session

KILLS = 50
BATCH = 3
POLL_NS = 200 * MS
# Emptied each 200 ms, written 600 ms after the last time at the latest: three rounds, that one and the next.
ROUNDS = 5
TRIED_ROUNDS = 24
SOURCES = os.path.dirname(sldtrace.__file__)


class Lines:
    """Counts the lines of sldtrace that run from `start` on, and kills this process before one of them."""

    def __init__(self, last_call: int) -> None:
        self.count = 0
        self._last_call = last_call

    def start(self) -> None:
        """From the next function call on."""
        sys.settrace(self._called)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        return self._ran if frame.f_code.co_filename.startswith(SOURCES) else None

    def _ran(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        if event == "line":
            self.count += 1
            if self.count == self._last_call:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._ran


def recorded_until(session: Session, line: int) -> tuple[np.ndarray, int]:
    """A recorder that is killed before that line (0: not), in a process of its own.

    The number of lines that had run when each of its rounds began, and its wait status.
    """
    begun = np.frombuffer(mmap.mmap(-1, 8 * 2 * TRIED_ROUNDS), np.uint64)
    child = os.fork()
    if not child:
        try:
            record(session, Lines(line), begun)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return begun[begun > 0], status


def record(session: Session, lines: Lines, begun: np.ndarray) -> None:
    """Records for all rounds, by a clock that a round moves on; notes in `begun` when each begins."""
    ticks, given = 0, dict[int, int]()

    def wait(*_: object) -> None:
        nonlocal ticks
        ticks += 1

    def batch() -> np.ndarray | None:
        if not ticks or ticks in given:
            return None  # the beginning, and the end, which look more often
        number = given[ticks] = len(given)
        begun[number] = lines.count
        return array("trap", [early(ticks * POLL_NS, rip=number * BATCH + index) for index in range(BATCH)])

    clock = SimpleNamespace(monotonic_ns=lambda: ticks * POLL_NS, sleep=wait)
    vars(recorder)["time"] = clock
    vars(signal)["sigtimedwait"] = wait
    session.rings(trap=[batch] * 2 * TRIED_ROUNDS)
    lines.start()
    session.run(poll_ns=POLL_NS, duration_ns=TRIED_ROUNDS * POLL_NS)


def test_at_any_moment_it_leaves_what_is_older_than_a_second(session: Session, tmp_path: Path) -> None:
    session.path = tmp_path / "whole.sld"
    begun, status = recorded_until(session, 0)
    assert status == 0
    assert len(begun) >= TRIED_ROUNDS
    lengths = set()
    for number, line in enumerate(np.linspace(begun[0] + 1, begun[-1], KILLS, dtype=int).tolist()):
        session.path = tmp_path / f"{number}.sld"
        begun, status = recorded_until(session, line)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        with session.opened() as recording:
            recorded = recording.records("trap")["rip"]
            assert recorded.tolist() == list(range(len(recorded)))  # none is missing in between
            assert len(recorded) % BATCH == 0
            assert len(begun) - ROUNDS <= len(recorded) / BATCH <= len(begun)
            assert recording.closing is None
            assert recording.warnings  # that it has no end
            lengths.add(len(recorded))
    assert len(lengths) > TRIED_ROUNDS // ROUNDS  # and so many different ones there must be
