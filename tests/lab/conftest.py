"""Fixtures of the lab's tests: a cache of its own for every test that builds anything."""

from pathlib import Path

import pytest


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in a temporary folder; returns the folder that the lab uses in it."""
    monkeypatch.setenv("SLDTRACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lab"
