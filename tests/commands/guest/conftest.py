"""A run without processes: what it would run, and what it would record."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sldtrace.host import access, split_lock
from sldtrace.host.split_lock import SplitLock
from sldtrace.vmm import children, recorded
from tests.commands.guest.plans import Fake

LIVELOCK = Path(__file__).parents[2] / "model" / "data" / "6.12.sld"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """No process is made, and there are CPUs 0 to 3."""
    monkeypatch.setattr(children, "Children", Fake)
    monkeypatch.setattr(Fake, "made", [], raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    return Fake


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, fake: type[Fake]) -> list[str]:
    """The calls of the recorder, in order. It leaves a recording of a livelock; the host traps."""
    calls: list[str] = []

    class RecorderProcess:
        def __init__(self, path: Path, every_exit: bool) -> None:
            self._path = path
            assert every_exit

        def __enter__(self) -> "RecorderProcess":
            return self

        def begin(self, pids: list[int], interrupted: Any) -> None:
            calls.append(f"begin {pids}")
            shutil.copy(LIVELOCK, self._path)

        def __exit__(self, *_: object) -> None:
            calls.append("end")

    monkeypatch.setattr(recorded, "RecorderProcess", RecorderProcess)
    monkeypatch.setattr(access, "require", lambda: None)
    monkeypatch.setattr(split_lock, "read", lambda: SplitLock("warn", True, False, 1))
    return calls
