"""The host's programs: missing ones, failing ones, ending exactly those that were started."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from lab import hosttools
from lab.failures import LabError
from tests.waiting import until


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        hosttools, "_find", lambda name: None if name in ("as", "ld", "mke2fs") else f"/bin/{name}"
    )
    with pytest.raises(LabError) as caught:
        hosttools.require(["as", "make", "ld", "mke2fs"])
    assert caught.value.message == "missing programs: as, ld, mke2fs"
    assert caught.value.hint == "install with: apt-get install binutils e2fsprogs"


def test_a_failure_is_the_line_that_tells() -> None:
    script = "echo 'E: no such suite' >&2; echo 'rolling back' >&2; exit 3"
    with pytest.raises(LabError, match="asking failed: E: no such suite"):
        hosttools.run(["sh", "-c", script], what="asking")


def test_a_log_gets_both_streams_and_is_named_on_failure(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(LabError) as caught:
        hosttools.run(["sh", "-c", "echo out; echo err >&2; exit 1"], what="building", log=log)
    assert log.read_text() == "out\nerr\n"
    assert str(log) in str(caught.value)


def test_output_comes_back() -> None:
    assert hosttools.run(["sh", "-c", "echo $X"], what="x", environment={"X": "hello"}) == "hello\n"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_end_stops_the_program_and_its_children_and_no_other() -> None:
    bystander = subprocess.Popen(["sleep", "3600"])
    started = hosttools.start(["sh", "-c", "sleep 3600 & echo $!; wait"], stdout=subprocess.PIPE)
    assert started.stdout is not None
    child = int(started.stdout.readline())
    hosttools.end(started)
    assert started.poll() == -signal.SIGTERM
    # The pipe is at its end only when the child that holds it is gone as well.
    assert started.stdout.read() == b""
    until(lambda: not _runs(child), "the end of the child")
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_end_all_ends_every_wait(tmp_path: Path) -> None:
    caught: list[LabError] = []
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def wait() -> None:
        try:
            hosttools.run(["sh", "-c", 'echo started > "$0"; exec sleep 3600', fifo], what="sleeping")
        except LabError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    fifo.read_text()
    hosttools.end_all()
    thread.join()
    assert len(caught) == 1
