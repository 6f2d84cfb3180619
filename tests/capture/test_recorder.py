"""A whole recording without a kernel: rings and counters are played by fakes, the file is a real one."""

import signal
from typing import Any

import numpy as np
import pytest

from sldtrace.capture import probes, recorder
from sldtrace.capture.recorder import STOP_SIGNALS
from sldtrace.host import process
from tests.analyzers.synthetic import FACTS, MS, START_NS, array, early, served, task
from tests.capture import fakes
from tests.capture.fakes import FUNCTIONS, LATE_TRACEPOINTS, stop, tallies
from tests.capture.session import Session, nothing, then, traps

# What is in the file


def test_all_that_comes_out_of_the_rings_is_in_the_file(session: Session) -> None:
    first, second, last = traps(5), traps(3, 100 * MS), traps(2, 200 * MS)
    switches = array("detection", [{"ns": START_NS, "value": 1 << 29, "cpu": 1, "tid": 201}])
    session.rings(
        trap=[first, then(stop, second), last],
        task=[array("task", [task(201, b"CPU 0/KVM")])],
        detection=[switches],
    )
    session.host.counters = lambda: tallies(trap_NOTHING=10, task_NOTHING=1, detection_NOTHING=1)
    status = session.run()
    with session.opened() as recording:
        assert recording.warnings == []
        assert recording.closed
        assert recording.records("trap").tobytes() == np.concatenate([first, second, last]).tobytes()
        assert recording.records("detection").tobytes() == switches.tobytes()
        assert recording.counts == {"trap": 10, "detection": 1, "task": 1, "lost": 0}
        assert recording.closing is not None
        assert recording.closing["seen"] == {"trap": 10, "task": 1, "detection": 1}
        assert recording.closing["unfinished"] == {"trap": 0}
        assert recording.closing["ended_by"] == "SIGINT"
        assert recording.closing["clock"].keys() == {"monotonic_ns", "realtime_ns"}
    assert (status.traps, status.early_returns, status.seen, status.lost, status.unfinished) == (
        10,
        10,
        10,
        0,
        0,
    )
    assert status.bytes > 0


def test_early_returns_are_those_of_the_sleep_and_of_the_semaphore(session: Session) -> None:
    rows = [early(0), early(MS, left_ms=1), served(2 * MS), served(20 * MS, semaphore_result=-4)]
    session.rings(trap=[then(stop, array("trap", rows))])
    assert session.run().early_returns == 3


def test_the_facts_name_the_probes_and_the_filter(session: Session) -> None:
    session.rings(trap=[then(stop)])
    session.run(tgid=77)
    assert session.host.programs[0].tgid == 77
    with session.opened() as recording:
        assert recording.facts["filters"] == {"tgid": 77}
        assert recording.facts["kernel"] == FACTS["kernel"]
        backends = {probe["name"]: probe["backend"] for probe in recording.facts["probes"]}
    assert [backends[name] for name in FUNCTIONS] == ["fentry"] * 4


def test_processes_are_described_when_they_first_trap(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def describe(tgid: int) -> dict[str, str]:
        asked.append(tgid)
        return {"comm": f"vmm-{tgid}"}

    monkeypatch.setattr(process, "describe", describe)
    tasks = [task(201, b"a"), task(202, b"b"), task(301, b"c", 300)]
    session.rings(task=[array("task", tasks)], trap=[then(stop)])
    session.run()
    assert sorted(asked) == [200, 300]
    with session.opened() as recording:
        (update,) = recording.updates
        assert update == {"processes": {"200": {"comm": "vmm-200"}, "300": {"comm": "vmm-300"}}}


# Arming


def test_the_late_probes_are_attached_once_and_with_the_first_trap(session: Session) -> None:
    log = session.host.log

    def nothing_yet() -> None:
        assert session.host.done("attach tracepoint")[2:] == []

    def armed() -> None:
        assert session.host.done("attach tracepoint")[2:] == list(LATE_TRACEPOINTS)
        assert log[-2:] == [("tell EXITS", "time"), ("tell MSR", "time")]

    session.rings(
        trap=[
            then(nothing_yet),
            then(nothing_yet, traps(1)),
            then(armed, traps(1, MS)),
            then(stop, traps(1, 2 * MS)),
        ]
    )
    session.run()
    assert session.host.done("tell EXITS") == session.host.done("tell MSR") == ["time"]
    with session.opened() as recording:
        (update,) = recording.updates
        assert update["armed_ns"] > 0
        names = [probe["name"] for probe in update["probes"]]
        assert names[-3:] == list(LATE_TRACEPOINTS)
        assert set(FUNCTIONS) < set(names)


def test_without_a_trap_nothing_is_armed(session: Session) -> None:
    session.rings(trap=[then(stop)])
    session.run()
    assert session.host.done("tell EXITS") == session.host.done("tell MSR") == []
    assert session.host.done("attach tracepoint")[2:] == []


@pytest.mark.parametrize(
    ("missing", "told"), [("msr:write_msr", ["EXITS"]), ("kvm:kvm_exit", ["MSR"]), ("kvm:kvm_entry", ["MSR"])]
)
def test_a_late_probe_that_is_missing_is_a_warning(session: Session, missing: str, told: list[str]) -> None:
    """And the records must not say that it watched."""
    session.host.refusals[f"tracepoint {missing}"] = "no such event"
    session.rings(trap=[traps(1), then(stop)])
    session.run()
    warnings = [line for line in session.said if "warning" in line]
    assert warnings == [f"warning: {missing} is not attached: no such event"]
    assert [name for name in ("EXITS", "MSR") if session.host.done(f"tell {name}")] == told


# The gate


def test_runs_are_recorded_from_when_all_probes_are_attached_to_the_end(session: Session) -> None:
    session.rings(trap=[then(stop)])
    session.run()
    log = session.host.log
    assert session.host.done("tell OPEN") == ["time", "0"]
    opened, closed = log.index(("tell OPEN", "time")), log.index(("tell OPEN", "0"))
    attached = [index for index, (entry, _) in enumerate(log) if entry.startswith("attach")]
    detached = [index for index, (entry, _) in enumerate(log) if entry.startswith("detach")]
    assert max(attached) < opened < closed < min(detached)
    assert ("tallies", "") in log[closed:]


def test_runs_that_began_before_all_probes_were_there_have_time_to_pass(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        assert session.host.done("tell OPEN") == []
        slept.append(seconds)

    monkeypatch.setattr(recorder.time, "sleep", sleep)
    session.rings(trap=[then(stop)])
    session.run()
    assert slept == [2 * 10_000 / 1e9]


def test_counters_are_read_before_the_rings_in_the_end(session: Session) -> None:
    """Else a record that comes in between would be counted, and not be in the file."""
    order: list[str] = []

    def counters() -> np.ndarray:
        order.append("counters")
        return fakes.no_tallies()

    session.host.counters = counters
    noting = then(lambda: order.append("ring"))
    # The signal is fetched before the second read; the third is that of the end.
    session.rings(trap=[then(stop), noting, noting])
    session.run()
    assert order == ["ring", "counters", "ring"]


# Losses


def test_losses_are_in_the_file_and_in_the_accounts(session: Session) -> None:
    session.rings(trap=[then(stop, traps(3))])
    session.host.counters = lambda: tallies(trap_NOTHING=10, trap_RING_FULL=6, trap_UNFINISHED=1)
    status = session.run()
    with session.opened() as recording:
        assert [(loss.kind, loss.cause, loss.cpu, loss.count) for loss in recording.losses] == [
            ("trap", "ring_full", 1, 6),
            ("trap", "unfinished", 1, 1),
        ]
    assert (status.lost, status.seen, status.unfinished) == (7, 10, 0)


def test_what_the_kernel_skipped_is_lost_and_told(session: Session) -> None:
    session.rings(trap=[then(stop, traps(3))])
    session.host.counters = lambda: tallies(trap_NOTHING=3)
    session.host.skips = {
        "kprobe__handle_guest_split_lock": 2,
        "kretprobe__split_lock_warn": 1,
        "kprobe__down_interruptible": 0,
    }
    status = session.run()
    with session.opened() as recording:
        (loss,) = recording.losses
        assert (loss.kind, loss.cause, loss.count) == ("trap", "skipped", 2)
        assert recording.closing is not None
        assert recording.closing["skipped"] == {
            "kprobe__handle_guest_split_lock": 2,
            "kretprobe__split_lock_warn": 1,
        }
    assert (status.lost, status.unfinished) == (2, 0)


def test_losses_are_written_while_it_goes_on(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a recorder that is killed has told of them."""
    monkeypatch.setattr(recorder, "_FLUSH_NS", 0)
    session.host.counters = lambda: tallies(trap_NOTHING=5, trap_RING_FULL=2)
    seen = []

    def look() -> None:
        with session.opened() as recording:
            seen.append(
                (recording.counts["trap"], [loss.count for loss in recording.losses], recording.closed)
            )
        stop()

    session.rings(trap=[traps(3), then(look)])
    session.run()
    assert seen == [(3, [2], False)]
    assert session.told[0].lost == 2
    assert session.told[0].seen == 5


def test_the_status_is_told_once_a_second(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.rings(trap=[traps(1), traps(1, MS), then(stop)])
    session.run()
    assert session.told == []
    monkeypatch.setattr(recorder, "_FLUSH_NS", 0)
    session.rings(trap=[traps(1), traps(1, MS), then(stop)])  # one more read, with the signal
    session.run(force=True)
    assert [status.traps for status in session.told] == [1, 2, 2, 2]


# The end


def test_runs_under_way_are_waited_for(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_SETTLE_NS", 60_000 * MS)
    session.host.counters = lambda: tallies(trap_NOTHING=4)
    session.rings(trap=[then(stop, traps(2)), nothing, nothing, nothing, traps(2, 50 * MS)])
    status = session.run()
    assert (status.traps, status.unfinished) == (4, 0)


def test_but_not_for_ever(session: Session) -> None:
    """A run may wait for the semaphore as long as others are punished."""
    session.rings(trap=[then(stop, traps(2))])
    session.host.counters = lambda: tallies(trap_NOTHING=5)
    assert session.run().unfinished == 3
    with session.opened() as recording:
        assert recording.closing is not None
        assert recording.closing["unfinished"] == {"trap": 3}


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


def test_a_stop_signal_while_attaching_ends_it_at_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = recorder.load

    def interrupted(*arguments: Any) -> Any:
        stop(signal.SIGINT)
        return attach(*arguments)

    monkeypatch.setattr(recorder, "load", interrupted)
    session.rings(trap=[])
    assert session.run(duration_ns=None).ended_by == "SIGINT"
    assert session.host.left_attached() == set()


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
    assert session.said == [
        "compiling and attaching the probes",
        f"recording to {session.path} until Ctrl-C",
    ]
    session.said.clear()
    session.rings(trap=[then(stop)])
    session.run(force=True)
    assert session.said[-1] == f"recording to {session.path}"


def test_signals_are_as_before(session: Session) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    session.rings(trap=[then(stop)])
    session.run()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    assert not signal.sigpending() & STOP_SIGNALS


def test_a_ring_that_was_left_out_is_not_read(session: Session) -> None:
    session.rings(trap=[then(stop, traps(1))])
    session.run()
    with session.opened() as recording:
        assert recording.counts["detection"] == 0
