"""A recording that fails: nothing stays attached, what was written stays readable, nothing is overwritten."""

import contextlib
import errno
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from sldtrace.capture import privileges, recorder
from sldtrace.capture.bpf import loader
from sldtrace.capture.bpf.loader import Loaded
from sldtrace.capture.recorder import STOP_SIGNALS
from sldtrace.errors import SldtraceError
from sldtrace.recording.writer import Writer
from tests.analyzers.synthetic import MS, array, task
from tests.capture.fakes import stop
from tests.capture.session import Session, nothing, then, traps


def left(session: Session) -> set[str]:
    """What the host is left with; the program must have been unloaded, too."""
    assert session.host.log[-1] == ("close", "")
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & STOP_SIGNALS
    return session.host.attached()


@pytest.mark.parametrize("when", ["append", "flush", "facts_update", "close"])
def test_a_file_that_cannot_be_written_leaves_nothing_attached(
    session: Session, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Writer, *arguments: object) -> None:
        raise SldtraceError("cannot write a.sld: No space left on device")

    monkeypatch.setattr(recorder, "_ACCOUNT_NS", 1)
    monkeypatch.setattr(Writer, when, full)
    session.rings(trap=[traps(1), traps(1, MS), then(stop)], task=[array("task", [task(201, b"a")])])
    with pytest.raises(SldtraceError, match="No space left on device"):
        session.run()
    assert left(session) == set()


def test_what_was_written_before_a_failure_stays_readable(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_ACCOUNT_NS", 1)

    def broken() -> None:
        raise SldtraceError("the ring is gone")

    session.rings(trap=[traps(4), then(broken)])
    with pytest.raises(SldtraceError, match="the ring is gone"):
        session.run()
    assert left(session) == set()
    with session.opened() as recording:
        assert recording.counts["trap"] == 4
        assert recording.closing is not None
        assert recording.closing["ended_by"] == "error"
        assert "seen" not in recording.closing


@pytest.mark.parametrize("force", [False, True])
def test_a_target_that_is_refused_costs_no_compilation(session: Session, tmp_path: Path, force: bool) -> None:
    with pytest.raises(SldtraceError, match="is a directory"):
        session.run(path=tmp_path, force=force)
    session.path.write_text("precious")
    if not force:
        with pytest.raises(SldtraceError, match="exists; use --force"):
            session.run()
        assert session.path.read_text() == "precious"
    assert session.host.log == []


def test_a_target_that_appears_at_the_same_time_leaves_nothing_attached(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any) -> Loaded:
        session.path.write_text("precious")
        return session.host.load(*arguments)

    monkeypatch.setattr(loader, "load", slow)
    with pytest.raises(SldtraceError, match="exists; use --force"):
        session.run()
    assert left(session) == set()
    assert session.path.read_text() == "precious"


def test_probes_that_cannot_be_attached_leave_no_file(session: Session) -> None:
    session.host.refusals["kretprobe__handle_guest_split_lock"] = errno.EPERM
    with pytest.raises(SldtraceError, match="cannot be probed"):
        session.run(backend="kprobe")
    assert not session.path.exists()
    assert left(session) == set()


def test_a_process_that_keeps_its_rights_does_not_record(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(privileges, "drop", refused)
    session.rings(trap=[then(stop, traps(1))])
    with pytest.raises(OSError, match="Operation not permitted"):
        session.run()
    assert left(session) == set()
    assert session.host.done("control OPEN") == []
    with session.opened() as recording:
        assert recording.closing is not None
        assert recording.closing["ended_by"] == "error"


def test_maps_that_do_not_fit_are_let_go_of(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Loaded] = []

    def incomplete(*arguments: Any) -> Loaded:
        loaded = session.host.load(*arguments)
        os.close(loaded.maps.pop("event_counts"))
        made.append(loaded)
        return loaded

    monkeypatch.setattr(loader, "load", incomplete)
    with pytest.raises(KeyError):
        session.run()
    assert (made[0].maps, made[0].programs) == ({}, {})


def descriptors() -> dict[str, int]:
    """How many descriptors of each kind the process has; those of a mapping live as long as the mapping."""
    names = []
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{each}"))
    return {kind: sum(kind in name for name in names) for kind in ("link", "program", "stats", ".sld")}


@pytest.mark.parametrize("armed", [False, True])
def test_no_descriptor_is_left_open(session: Session, armed: bool) -> None:
    session.rings(trap=[traps(1) if armed else nothing, then(stop)])
    before = descriptors()
    session.run()
    assert descriptors() == before


def test_only_this_thread_is_needed(session: Session) -> None:
    session.rings(trap=[then(stop)])
    before = threading.active_count()
    session.run()
    assert threading.active_count() == before
