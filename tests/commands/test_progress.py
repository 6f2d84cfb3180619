"""The bar of what takes long: on a terminal, and not before two seconds."""

import io
import re
import sys
from pathlib import Path

import pytest

from sldtrace.commands import progress, recordings
from sldtrace.commands.report import report
from tests.analyzers.synthetic import MS, START_NS, loop, trace
from tests.recording.rotated import rotate


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


# Two files of one timeline with 200 traps each.
def pieces(folder: Path) -> None:
    (folder / "pieces").mkdir()
    rotate(trace(folder, loop(400)).recording, folder / "pieces" / "a", [START_NS + 200 * MS])


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


def test_a_share_of_a_bar_is_complete_at_its_end_and_not_more(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = terminal(monkeypatch)
    with progress.Progress("analyzing", 30) as bar:
        clock[0] += 2
        with progress.Share(bar, 10) as first:
            first.update(3)
            assert "3/30" in stderr.getvalue()
        assert "10/30" in stderr.getvalue()
        with progress.Share(bar, 20) as second:
            second.update(15)
            second.update(15)
    assert "30/30" in stderr.getvalue()
    assert "40/30" not in stderr.getvalue()


def test_the_files_of_a_directory_have_a_bar_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files of one host: verified by bytes, then analyzed by records."""
    pieces(tmp_path)
    size = sum(path.stat().st_size for path in (tmp_path / "pieces").iterdir())
    monkeypatch.setattr(progress, "_AFTER_S", 0)
    stderr = terminal(monkeypatch)
    report.main([str(tmp_path / "pieces"), "-o", str(tmp_path / "out")], standalone_mode=False)
    verified = [int(found) for found in re.findall(rf"(\d+)/{size}", stderr.getvalue())]
    assert max(verified) > 0.9 * size  # all but what precedes the chunks
    positions = {int(found) for found in re.findall(r"(\d+)/800", stderr.getvalue())}
    assert {400, 800} <= positions  # they are read twice


def test_a_reader_of_one_timeline_has_a_bar_for_each_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces(tmp_path)
    monkeypatch.setattr(progress, "_AFTER_S", 0)
    stderr = terminal(monkeypatch)
    with recordings.open_one([tmp_path / "pieces"]) as opened:
        assert len(opened.traps) == 400
    assert "analyzing" in stderr.getvalue()
    assert "400/400" in stderr.getvalue()
