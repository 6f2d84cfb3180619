"""How a recording ends: what is still waited for, which signals end it, and what it says."""

import itertools
import signal
import time
from typing import Any

import pytest

from sldtrace.capture import recorder
from sldtrace.capture.bpf import loader, probes
from sldtrace.capture.detail import Detail
from sldtrace.capture.recorder import STOP_SIGNALS
from sldtrace.errors import SldtraceError
from tests.analyzers.synthetic import MS
from tests.capture.fakes import stop
from tests.capture.session import Session, nothing, then, traps


def test_runs_under_way_are_waited_for(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_SETTLE_NS", 60_000 * MS)
    session.host.count(trap_NONE=4)
    session.rings(trap=[then(stop, traps(2)), nothing, nothing, nothing, traps(2, 50 * MS)])
    status = session.run()
    assert (status.traps, status.unfinished) == (4, 0)


def test_but_not_for_ever(session: Session) -> None:
    """A trap may wait for the semaphore as long as others are penalized."""
    session.rings(trap=[then(stop, traps(2))])
    session.host.count(trap_NONE=5)
    assert session.run().unfinished == 3
    with session.opened() as recording:
        assert recording.closing is not None
        assert recording.closing["unfinished"] == {"trap": 3, "exit": 0}


def test_runs_that_end_while_the_probes_are_taken_off_are_not_unfinished(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes the kernel a while; they are read afterwards."""
    end = Detail.end

    def slow_end(detail: Detail) -> None:
        end(detail)
        session.rings(trap=[traps(2, 50 * MS)])

    monkeypatch.setattr(Detail, "end", slow_end)
    session.host.count(trap_NONE=5)
    session.rings(trap=[then(stop, traps(2))])
    status = session.run()
    assert (status.traps, status.unfinished) == (4, 1)
    with session.opened() as recording:
        assert recording.closing is not None
        assert recording.closing["unfinished"]["trap"] == 1


def test_the_recording_ends_when_nothing_more_is_recorded(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the probes are detached and the file is complete, which takes a while."""
    end, moments = Detail.end, []

    def last() -> None:
        moments.append(time.monotonic_ns())
        stop()

    def slow_end(detail: Detail) -> None:
        assert session.host.control_value("OPEN") == 0
        moments.append(time.monotonic_ns())
        end(detail)

    monkeypatch.setattr(Detail, "end", slow_end)
    session.rings(trap=[then(last)])
    session.run()
    with session.opened() as recording:
        assert recording.closing is not None
        seen, detached = moments
        assert seen < recording.closing["clock"]["monotonic_ns"] < detached


@pytest.mark.parametrize("number", sorted(STOP_SIGNALS))
def test_ends_on_each_stop_signal(session: Session, number: signal.Signals) -> None:
    session.rings(trap=[then(lambda: stop(number), traps(1))])
    status = session.run(duration_ns=None)
    assert status.ended_by == number.name
    assert (session.path.exists(), status.traps) == (True, 1)


def test_the_stop_signals() -> None:
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} == STOP_SIGNALS


def test_the_end_of_the_session_is_ignored_where_it_was_before(session: Session) -> None:
    """As with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        session.rings(trap=[then(lambda: stop(signal.SIGHUP)), then(lambda: stop(signal.SIGTERM))])
        assert session.run(duration_ns=None).ended_by == "SIGTERM"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_signal_while_compiling_ends_it_at_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = loader.load

    def interrupted(*arguments: Any) -> Any:
        stop(signal.SIGINT)
        return load(*arguments)

    monkeypatch.setattr(loader, "load", interrupted)
    with pytest.raises(SldtraceError, match="stopped before anything was recorded"):
        session.run(duration_ns=None)
    assert not session.path.exists()
    assert not signal.sigpending() & STOP_SIGNALS


def test_a_stop_signal_while_attaching_is_not_lost(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    attach = probes.Probes.attach

    def interrupted(self: probes.Probes) -> None:
        stop(signal.SIGINT)
        attach(self)

    monkeypatch.setattr(probes.Probes, "attach", interrupted)
    session.rings(trap=[])
    assert session.run(duration_ns=None).ended_by == "SIGINT"
    assert session.host.attached() == set()


def test_a_stop_signal_while_detaching_does_no_harm(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    detach = probes.Probes.close

    def interrupted(self: probes.Probes) -> None:
        stop(signal.SIGTERM)
        detach(self)

    monkeypatch.setattr(probes.Probes, "close", interrupted)
    session.rings(trap=[then(stop)])
    assert session.run(duration_ns=None).ended_by == "SIGINT"
    assert not signal.sigpending() & STOP_SIGNALS


def test_ends_when_its_time_is_up(session: Session) -> None:
    session.rings(trap=[traps(1)])
    status = session.run(duration_ns=3 * MS)
    assert status.ended_by == "duration"
    assert status.elapsed_ns >= 3 * MS
    with session.opened() as recording:
        assert recording.closing is not None
        assert recording.closing["ended_by"] == "duration"


def test_what_it_says(session: Session) -> None:
    session.rings(trap=[then(stop)])
    session.run(duration_ns=None)
    assert session.messages == [
        "compiling and attaching the probes",
        f"recording to {session.path} until Ctrl-C",
    ]
    session.messages.clear()
    session.rings(trap=[then(stop)])
    session.run(force=True)
    assert session.messages[-1] == f"recording to {session.path}"


def test_signals_are_as_before(session: Session) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    session.rings(trap=[then(stop)])
    session.run()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    assert not signal.sigpending() & STOP_SIGNALS


def test_a_kernel_without_kvm_is_recorded_all_the_same(session: Session) -> None:
    session.host.lacks = {"kvm:kvm_exit", "kvm:kvm_entry", "kvm:kvm_userspace_exit"}
    session.rings(trap=[then(stop, traps(1))])
    session.run(exits="all")
    with session.opened() as recording:
        assert recording.counts["trap"] == 1
        assert recording.counts["counts"] == 0


def test_an_uninitialized_siginfo_ends_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGSTOP and SIGCONT CPython returns an uninitialized siginfo."""
    wait = signal.sigtimedwait
    waits = itertools.count()

    def interrupted(signals: Any, timeout: float) -> Any:
        if next(waits) == 0:
            return signal.struct_siginfo((-1936166048, *[0] * 6))
        return wait(signals, timeout)

    monkeypatch.setattr(signal, "sigtimedwait", interrupted)
    session.rings(trap=[traps(2), then(stop, traps(3, 100 * MS))])
    session.host.count(trap_NONE=5)
    status = session.run()
    assert (status.traps, status.ended_by) == (5, "SIGINT")
