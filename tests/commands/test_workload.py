"""The command of `record -- COMMAND`: when it starts, what its end does, and its exit status."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sldtrace.capture.live.detector import Detector
from sldtrace.capture.recorder import STOP_SIGNALS, Live, Status
from sldtrace.commands.workload import Workload
from sldtrace.model import penalty

LIVE = Live(Detector(penalty.for_kernel("6.12", 4_000_000), {}), lambda tgid: {}, Status())


@contextmanager
def as_in_the_recorder() -> Iterator[None]:
    """Stop signals are blocked, and none is pending afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        while signal.sigtimedwait(STOP_SIGNALS, 0):
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def until_it_ends(workload: Workload) -> signal.Signals | None:
    """Looks as the recorder does; the stop signal that comes."""
    while workload.status is None:
        workload.look(LIVE, 0)
        time.sleep(0.01)
    found = signal.sigtimedwait(STOP_SIGNALS, 0)
    return signal.Signals(found.si_signo) if found else None


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -INT $$", 130)]
)
def test_the_recording_ends_with_the_command(script: str, status: int) -> None:
    with as_in_the_recorder():
        workload = Workload(["sh", "-c", script])
        assert until_it_ends(workload) is signal.SIGINT
        workload.close()
    assert workload.status == status


def test_it_starts_when_the_recorder_records(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with as_in_the_recorder():
        workload = Workload(["touch", str(made)])
        time.sleep(0.1)
        assert not made.exists()
        until_it_ends(workload)
        workload.close()
    assert made.exists()


def test_it_does_not_start_when_the_recorder_cannot(tmp_path: Path) -> None:
    made = tmp_path / "made"
    workload = Workload(["touch", str(made)])
    workload.close()
    assert not made.exists()
    assert workload.status is None


def test_a_command_that_runs_on_is_left_alone(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    with as_in_the_recorder():
        workload = Workload(["sh", "-c", f"read x < {go}; echo $x > {tmp_path}/done"])
        workload.look(LIVE, 0)
        workload.close()
        assert workload.status is None
        go.write_text("on\n")
        os.waitpid(workload.pid, 0)
    assert (tmp_path / "done").read_text() == "on\n"


def test_it_is_known_whether_the_command_ended_with_the_recording(tmp_path: Path) -> None:
    """As by the Ctrl-C that it gets, too."""
    go = tmp_path / "go"
    os.mkfifo(go)
    with as_in_the_recorder():
        workload = Workload(["sh", "-c", f"read x < {go}; exit 7"])
        workload.look(LIVE, 0)
        workload.close()
        assert workload.outlasts(0)
        assert workload.status is None
        go.write_text("on\n")
        assert not workload.outlasts(60)
    assert workload.status == 7
    assert not signal.sigtimedwait(STOP_SIGNALS, 0)


@pytest.mark.parametrize(("mode", "status"), [(None, 127), (0o644, 126)])
def test_a_program_that_cannot_be_run(
    tmp_path: Path, mode: int | None, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "program"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    with as_in_the_recorder():
        workload = Workload([str(program)])
        until_it_ends(workload)
        workload.close()
    assert workload.status == status
    assert capfd.readouterr().err.startswith(f"sldtrace: cannot run {program}: ")
