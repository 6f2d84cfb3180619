"""The fixture of the tests of whole recordings."""

from pathlib import Path

import pytest

from sldtrace.capture import recorder
from sldtrace.host import facts, kernel
from tests.analyzers.synthetic import FACTS, MS
from tests.capture import fakes
from tests.capture.session import Session


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    host = fakes.install(monkeypatch)
    monkeypatch.setattr(facts, "read", lambda: {**FACTS})
    monkeypatch.setattr(kernel, "tick_ns", lambda: 10_000)
    monkeypatch.setattr(recorder, "_SETTLE_NS", 2 * MS)
    return Session(tmp_path, host)
