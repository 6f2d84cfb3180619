"""A reading of all records is reported in steps; that of a few is not."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from sldtrace.recording.observed import Bar, Observed
from sldtrace.recording.reader import open_recording
from tests.analyzers.synthetic import loop, signalled, write


class Counted:
    def __init__(self, total: int) -> None:
        self.total = total
        self.steps = 0

    def update(self, steps: int) -> None:
        self.steps += steps


def test_each_reading_gets_a_bar_of_its_length(tmp_path: Path) -> None:
    bars: list[Counted] = []

    def begin(total: int) -> AbstractContextManager[Bar]:
        bars.append(Counted(total))
        return nullcontext(bars[-1])

    path = write(tmp_path / "a.sld", loop(50), more={"signal": [signalled(at) for at in range(20)]})
    read: list[int] = []
    with open_recording(path, read.append) as recording:
        assert sum(read) + 16 >= recording.size
        seen = Observed(recording, begin)
        assert seen.counts == recording.counts
        assert len(list(seen.timed_chunks({"trap", "signal"}))) == len(
            list(recording.timed_chunks({"trap", "signal"}))
        )
        list(seen.chunks())
        list(seen.batches("trap", 10))
        list(seen.chunks("trap", np.array([0], np.uint64)))
    assert [(each.total, each.steps) for each in bars] == [
        (70, 70),
        (sum(recording.counts.values()),) * 2,
        (50, 50),
    ]
