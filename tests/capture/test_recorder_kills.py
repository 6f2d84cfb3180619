"""kill -9 at fifty moments: the file opens, and has all but what came in the last rounds."""

import mmap
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from sldtrace.capture import recorder
from tests.analyzers.synthetic import MS, array, early
from tests.capture.session import Session

KILLS = 50
BATCH = 3
# All of the recorder's rounds, fifty times as fast: what takes a second takes 20 ms.
FASTER = 50
# Emptied each 200 ms, written 600 ms after the last time at the latest: three rounds, that one and the next.
ROUNDS = 5


def killed(session: Session, path: Path, after_s: float) -> tuple[int, int]:
    """A recorder that is killed so long after its first round: the rounds that it began, its wait status."""
    counter = mmap.mmap(-1, 8)
    rounds = np.frombuffer(counter, np.uint64)

    def batch() -> np.ndarray:
        first = int(rounds[0]) * BATCH
        rounds[0] += 1
        return array("trap", [early(time.monotonic_ns(), rip=first + index) for index in range(BATCH)])

    session.rings(trap=[batch] * 10_000)
    child = os.fork()
    if not child:
        try:
            session.run(path=path, poll_ns=200 * MS // FASTER, duration_ns=3600_000 * MS)
        finally:
            os._exit(1)
    while not rounds[0]:
        time.sleep(0.001)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return int(rounds[0]), status


def test_at_any_moment_it_leaves_what_is_older_than_a_second(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_ACCOUNT_NS", recorder._ACCOUNT_NS // FASTER)
    monkeypatch.setattr(recorder, "_FLUSH_NS", recorder._FLUSH_NS // FASTER)
    moments, lengths = random.Random(1), set()
    for number in range(KILLS):
        session.path = tmp_path / f"{number}.sld"
        rounds, status = killed(session, session.path, moments.uniform(0, 0.08))
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        with session.opened() as recording:
            recorded = recording.records("trap")["rip"]
            assert recorded.tolist() == list(range(len(recorded)))  # none is missing in between
            assert len(recorded) % BATCH == 0
            assert rounds - ROUNDS <= len(recorded) / BATCH <= rounds
            assert recording.closing is None
            assert recording.warnings  # that it has no end
            lengths.add(len(recorded))
    assert len(lengths) > 3
