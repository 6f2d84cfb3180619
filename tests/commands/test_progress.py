"""The bar of what takes long: on a terminal, and not before two seconds."""

import io
import sys

import pytest

from sldtrace.commands import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# No fixture: pytest replaces stderr between set-up and test.
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_what_is_done_at_once_shows_nothing(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    with progress.Progress("reading", 2) as bar:
        bar.update()
        clock[0] += 1.9
        bar.update()
    assert stderr.getvalue() == ""


def test_after_two_seconds_the_bar_has_all_steps(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    with progress.Progress("reading", 4) as bar:
        bar.update(2)
        clock[0] += 2
        bar.update()
        assert "reading" in stderr.getvalue()
        assert "3/4" in stderr.getvalue()
        bar.update()
    assert "4/4" in stderr.getvalue()


def test_a_file_gets_no_bar(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.Progress("reading", 2) as bar:
        clock[0] += 60
        bar.update()
    assert stderr.getvalue() == ""
