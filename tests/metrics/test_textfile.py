"""The file of metrics: replaced as a whole, readable by all, and gone at the end."""

import os
from pathlib import Path

import pytest

from sldtrace.capture.live.detector import Detector
from sldtrace.capture.recorder import Live, Status
from sldtrace.metrics.textfile import EVERY_NS, Textfile
from sldtrace.model import penalty
from tests.analyzers.synthetic import MS, START_NS, TICK, array, loop

SECOND = 1_000 * MS


def live(traps: int = 0) -> Live:
    detector = Detector(penalty.for_kernel("6.12", TICK), {0: 0}, MS, MS)
    if traps:
        detector.add("trap", array("trap", loop(traps)))
        detector.advance(START_NS + 10 * SECOND)
    return Live(detector, lambda tgid: {"comm": "vmm"}, Status(records=traps))


def test_it_is_written_every_few_seconds(tmp_path: Path) -> None:
    path = tmp_path / "sldtrace.prom"
    metrics = Textfile(path, 10, pytest.fail)
    metrics.look(live(), 100)
    first = path.stat().st_ino
    metrics.look(live(), 100 + EVERY_NS - 1)
    assert path.stat().st_ino == first
    found = live(300)
    metrics = Textfile(path, 10, pytest.fail)
    metrics.look(found, 100)
    text = path.read_text()
    assert 'sldtrace_traps_total{vm="vmm"} 300\n' in text
    assert 'sldtrace_livelocked_threads{vm="vmm"} 0\n' in text  # it ended ten seconds ago
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    metrics.close()
    assert list(tmp_path.iterdir()) == []


def test_everyone_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Textfile(tmp_path / "x.prom", 10, pytest.fail).look(live(), 0)
    finally:
        os.umask(before)
    assert (tmp_path / "x.prom").stat().st_mode & 0o777 == 0o644


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = tmp_path / "x.prom"
    path.with_name(f".x.prom.{os.getpid()}").symlink_to(victim)
    path.symlink_to(victim)
    Textfile(path, 10, pytest.fail).look(live(), 0)
    assert victim.read_text() == "mine"
    assert not path.is_symlink()


def test_a_folder_that_is_gone_is_a_warning_and_only_one(tmp_path: Path) -> None:
    said: list[str] = []
    metrics = Textfile(tmp_path / "gone" / "x.prom", 10, said.append)
    for look in range(3):
        metrics.look(live(), look * EVERY_NS)
    assert len(said) == 1
    assert "cannot be written" in said[0]
    (tmp_path / "gone").mkdir()
    metrics.look(live(), 3 * EVERY_NS)
    assert (tmp_path / "gone" / "x.prom").exists()
    metrics.close()
