"""The fixtures: a kernel without a kernel, and whole recordings on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sldtrace.capture import recorder
from sldtrace.host import facts, kernel
from tests.analyzers.synthetic import FACTS, MS
from tests.capture import fakes
from tests.capture.fakes import Host
from tests.capture.session import Session


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = fakes.install(monkeypatch)
    yield made
    made.end()


@pytest.fixture
def session(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(facts, "read", lambda: {**FACTS})
    monkeypatch.setattr(kernel, "tick_ns", lambda: 10_000)
    monkeypatch.setattr(recorder, "_SETTLE_NS", 2 * MS)
    monkeypatch.setattr(recorder, "lower_priority", lambda: None)
    return Session(tmp_path, host)
