"""A recorder on a fake host, for the tests of whole recordings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace.capture.recorder import Live, Recorder, RecordOptions, Status
from sldtrace.recording.reader import Recording, open_recording
from tests.analyzers.synthetic import MS, array, early
from tests.capture.fakes import Host


def traps(count: int, at_ns: int = 0) -> np.ndarray:
    return array("trap", [early(at_ns + index * MS) for index in range(count)])


class Session:
    """A recorder on a fake host, with its messages and statuses."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.host = host
        self.path = folder / "a.sld"
        self.messages: list[str] = []
        self.statuses: list[Status] = []

    def run(self, on_live: Callable[[Live, int], None] | None = None, **options: Any) -> Status:
        """Records until the rings have sent a signal; no test waits for more than the time it needs."""
        given = {"path": self.path, "duration_ns": 600_000 * MS, "poll_ns": MS, **options}
        return Recorder(
            RecordOptions(**given),
            self.messages.append,
            lambda status: self.statuses.append(Status(**vars(status))),
            on_live,
        ).run()

    def rings(self, **batches: list[Any]) -> None:
        """What each read of each ring finds."""
        self.host.feed(**batches)

    def opened(self) -> Recording:
        return open_recording(self.path)


def then(
    effect: Callable[[], None], records: "np.ndarray | None" = None
) -> Callable[[], "np.ndarray | None"]:
    """A batch with a side effect."""

    def batch() -> "np.ndarray | None":
        effect()
        return records

    return batch


def nothing() -> None:
    """A read that finds the ring empty."""
