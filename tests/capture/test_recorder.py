"""A whole recording without a kernel: rings and counters are played by fakes, the file is a real one."""

from collections.abc import Callable

import numpy as np
import pytest

from sldtrace.capture import privileges, recorder
from sldtrace.capture.bpf import slots
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.program import RINGS
from sldtrace.capture.bpf.syscalls import Runs
from sldtrace.capture.governor import Limits
from sldtrace.dataset.trace import load
from sldtrace.host.msr import DETECT
from sldtrace.host.vms import process
from tests.analyzers.synthetic import FACTS, FLAGS, MS, START_NS, array, completed, early, task
from tests.capture.fakes import FUNCTIONS, programs, stop
from tests.capture.session import Session, nothing, then, traps

# What is in the file


def test_all_that_comes_out_of_the_rings_is_in_the_file(session: Session) -> None:
    first, second, last = traps(5), traps(3, 100 * MS), traps(2, 200 * MS)
    switches = array("detection", [{"ns": START_NS, "value": DETECT, "cpu": 1, "tid": 201}])
    session.rings(
        trap=[first, then(stop, second), last],
        task=[array("task", [task(201, b"CPU 0/KVM")])],
        detection=[switches],
    )
    session.host.count(trap_NONE=10, task_NONE=1, detection_NONE=1)
    status = session.run()
    with session.opened() as recording:
        assert recording.warnings == []
        assert recording.closed
        assert recording.records("trap").tobytes() == np.concatenate([first, second, last]).tobytes()
        assert recording.records("detection").tobytes() == switches.tobytes()
        assert {kind: count for kind, count in recording.counts.items() if count} == {
            "trap": 10,
            "detection": 1,
            "task": 1,
            "detail": 2,
        }
        assert recording.closing is not None
        none = dict.fromkeys(RINGS.keys() - {"lost"}, 0)
        assert recording.closing["seen"] == none | {"trap": 10, "task": 1, "detection": 1}
        assert recording.closing["unfinished"] == {"trap": 0, "exit": 0}
        assert recording.closing["filtered"] == recording.closing["skipped"] == {}
        assert recording.closing["split_lock"].keys() == {"mitigate"}
        assert recording.closing["ended_by"] == "SIGINT"
        assert recording.closing["clock"].keys() == {"monotonic_ns", "realtime_ns"}
    assert (status.traps, status.early_returns, status.lost, status.unfinished) == (10, 10, 0, 0)
    assert status.bytes > 0


def test_the_live_count_of_early_returns_is_that_of_the_report(session: Session) -> None:
    """From the sleep, from the semaphore, and where a return was missed but detection stayed on."""
    stayed_on = FLAGS["WARNED"] | FLAGS["HANDLED"] | FLAGS["MSR_WATCHED"] | FLAGS["RETURN_MISSED"]
    rows = [
        early(0),
        early(MS, left_ms=1),
        completed(2 * MS),
        completed(20 * MS, semaphore_result=-4),
        early(40 * MS, left_ms=0, flags=stayed_on),
        early(42 * MS, left_ms=0, flags=stayed_on | FLAGS["MSR_CLEARED"]),
        early(60 * MS, left_ms=0, flags=stayed_on & ~FLAGS["MSR_WATCHED"]),
    ]
    session.rings(trap=[then(stop, array("trap", rows))])
    live = session.run().early_returns
    reported = load(session.path).traps["early_return"]
    assert reported.tolist() == [True, True, False, True, True, False, False]
    assert live == int(reported.sum())


def test_the_facts_name_the_probes_and_what_was_asked_for(session: Session) -> None:
    session.rings(trap=[then(stop)])
    filters = Filters(tgids=(77,), comm="CPU*")
    session.run(filters=filters, limits=Limits(5_000, 2.5), exits="counts")
    assert session.host.orders[0][:2] == (filters, "counts")
    with session.opened() as recording:
        assert recording.facts["filters"] == {"pid": [77], "comm": "CPU*"}
        assert recording.facts["exits"] == "counts"
        assert recording.facts["limits"] == {"events": 5_000, "cpu": 2.5}
        assert recording.facts["kernel"] == FACTS["kernel"]
        backends = {probe["name"]: probe["backend"] for probe in recording.facts["probes"]}
    assert [backends[name] for name in FUNCTIONS] == ["fentry"] * len(FUNCTIONS)


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


# Counters


def exits_of(session: Session, slot: int, tgid: int, tid: int, count: int) -> Callable[[], None]:
    """What the probes do: an entry for a thread, with exits of one reason."""

    def counted() -> None:
        host = session.host
        for name, value in (("tgid", tgid), ("tid", tid), ("exits", count), ("since_ns", 1)):
            host.vcpus[name][slot] = value
        host.followed[slot] = 1
        host.vcpus["cells"]["count"][slot, 0] = count
        host.vcpus["cells"]["reason"][slot, 0] = 12

    return counted


def test_counts_of_exits_are_in_the_file(session: Session) -> None:
    session.rings(trap=[then(exits_of(session, 5, 200, 201, 9)), then(stop)])
    session.run(exits="counts")
    with session.opened() as recording:
        (counts,) = recording.records("counts")
        assert [int(counts[name]) for name in ("tgid", "tid", "count", "reason")] == [200, 201, 9, 12]


def test_functions_that_waited_are_named(session: Session) -> None:
    session.host.kvm = [(0, "kvm_init"), (0x40, "kvm_vcpu_ioctl")]
    waits = [array("stall", [{"ns": 1, "tgid": 200, "caller": caller}]) for caller in (0x44, 0x44, 9)]
    session.rings(stall=[*waits, then(stop)])
    session.run()
    with session.opened() as recording:
        updates = [update["kvm"] for update in recording.updates if "kvm" in update]
    assert updates == [
        {"functions": {str(0x44): "kvm_vcpu_ioctl"}},
        {"functions": {str(0x44): "kvm_vcpu_ioctl", "9": "kvm_init"}},
    ]


def test_the_slot_of_a_thread_that_has_ended_is_free_again(session: Session) -> None:
    def ended() -> None:
        exits_of(session, 5, 200, 201, 9)()
        session.host.vcpus["ended_ns"][5] = 1

    session.rings(trap=[then(ended), then(stop)])
    session.run(exits="counts")
    assert session.host.freed == [*range(slots.count(), 0, -1), 5]


# Leaving out


def test_vms_that_are_not_meant_are_left_out_of_every_kind(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "describe", lambda tgid: {"vm": {"name": f"vm-{tgid}"}})
    tasks = array("task", [task(201, b"a"), task(301, b"b", 300)])
    both = array("trap", [early(0), early(MS, tgid=300, tid=301), early(2 * MS)])
    session.rings(trap=[both, then(stop, both)], task=[tasks])
    session.host.count(trap_NONE=6)
    status = session.run(filters=Filters(vm="vm-200"))
    assert session.host.filtered_tgids == [300]
    assert (status.traps, status.unfinished) == (4, 0)
    with session.opened() as recording:
        assert set(recording.records("trap")["tgid"].tolist()) == {200}
        assert recording.records("task")["tid"].tolist() == [201]
        assert recording.closing is not None
        assert recording.closing["filtered"] == {"trap": 2, "task": 1}


def test_a_pid_that_was_left_out_may_be_used_again_by_the_vm_that_is_meant(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["other", "mine"])
    monkeypatch.setattr(process, "describe", lambda tgid: {"vm": {"name": next(names)}})
    tasks = [array("task", [task(201, b"a")])] * 2
    session.rings(trap=[traps(1), traps(2, MS), then(stop)], task=[tasks[0], tasks[1]])
    session.host.count(trap_NONE=3)
    status = session.run(filters=Filters(vm="mine"))
    assert (status.traps, status.unfinished) == (2, 0)


def test_a_trap_of_a_process_that_is_left_out_attaches_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "describe", lambda tgid: {"vm": {"name": "other"}})
    session.rings(trap=[traps(1), then(stop)], task=[array("task", [task(201, b"a")])])
    session.run(filters=Filters(vm="mine"))
    assert not set(programs("kvm:kvm_exit")) & set(session.host.done("attach"))


# What it keeps of its rights


def test_rights_are_dropped_when_the_file_is_open_and_before_anything_is_read(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(*_: object) -> None:
        assert session.path.exists()
        assert session.host.done("control OPEN") == []
        session.host.log.append(("drop", ""))

    monkeypatch.setattr(privileges, "drop", drop)
    # The host's `identifier` refuses afterwards, as tracefs does.
    session.rings(trap=[traps(1), then(stop)])
    session.run()
    assert len(session.host.done("drop")) == 1
    assert "tracepoint__kvm__kvm_exit" in session.host.done("attach")


# The gate


def test_runs_are_recorded_from_when_all_probes_are_attached_to_the_end(session: Session) -> None:
    session.rings(trap=[then(stop)])
    session.run()
    log = session.host.log
    assert session.host.done("control OPEN") == ["time", "0"]
    opened, closed = log.index(("control OPEN", "time")), log.index(("control OPEN", "0"))
    attached = [index for index, (entry, _) in enumerate(log) if entry == "attach"]
    detached = [index for index, (entry, _) in enumerate(log) if entry == "detach"]
    assert max(attached) < opened < closed < min(detached)
    assert ("event_counts", "") in log[closed:]


def test_runs_that_began_before_all_probes_were_there_have_time_to_pass(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        assert session.host.done("control OPEN") == []
        slept.append(seconds)

    monkeypatch.setattr("sldtrace.capture.recorder.time.sleep", sleep)
    session.rings(trap=[then(stop)])
    session.run()
    assert slept == [2 * 10_000 / 1e9]


def test_counters_are_read_before_the_rings_in_the_end(session: Session) -> None:
    """Else a record that comes in between would be counted, and not be in the file."""
    noting = then(lambda: session.host.log.append(("read", "")))
    # The signal is fetched before the second read; the third and fourth are those of the end.
    session.rings(trap=[then(stop), *[noting] * 5])
    session.run()
    closed = session.host.log.index(("control OPEN", "0"))
    order = [verb for verb, _ in session.host.log[closed:] if verb in ("event_counts", "read", "detach")]
    first, last = order.index("detach"), len(order) - order[::-1].index("detach")
    assert order[:first][:2] == ["event_counts", "read"]
    # Once more after the late probes have been taken off, which here are none.
    assert order[first - 2 : first] == ["event_counts", "read"]
    assert set(order[first:last]) == {"detach"}


def test_what_the_late_probes_wrote_last_is_read(session: Session) -> None:
    def written() -> np.ndarray | None:
        if "tracepoint__kvm__kvm_exit" in session.host.attached():
            return None
        return array("exit", [{"ns": START_NS, "tgid": 200, "tid": 201}])

    session.rings(trap=[traps(1), then(stop)], exit=[nothing, *[written] * 9])
    session.run()
    with session.opened() as recording:
        assert recording.counts["exit"] >= 1


# Losses


def test_losses_are_in_the_file_and_in_the_accounts(session: Session) -> None:
    session.rings(trap=[then(stop, traps(3))])
    session.host.count(trap_NONE=10, trap_RING_FULL=6, trap_UNFINISHED=1)
    status = session.run()
    with session.opened() as recording:
        assert [(loss.kind, loss.cause, loss.cpu, loss.count) for loss in recording.losses] == [
            ("trap", "ring_full", 1, 6),
            ("trap", "unfinished", 1, 1),
        ]
    assert (status.lost, status.unfinished) == (7, 0)


def test_what_the_kernel_skipped_is_lost_and_shown(session: Session) -> None:
    session.rings(trap=[then(stop, traps(3))])
    session.host.count(trap_NONE=3)
    session.host.runs = {
        "kprobe__split_lock_warn": Runs(10, 2),
        "kretprobe__msleep_interruptible": Runs(10, 1),
        "kprobe__down_interruptible": Runs(10, 0),
    }
    status = session.run(backend="kprobe")
    with session.opened() as recording:
        (loss,) = recording.losses
        assert (loss.kind, loss.cause, loss.count) == ("trap", "skipped", 2)
        assert recording.closing is not None
        assert recording.closing["skipped"] == {
            "kprobe__split_lock_warn": 2,
            "kretprobe__msleep_interruptible": 1,
        }
    assert (status.lost, status.unfinished) == (2, 0)


def test_bus_locks_that_were_counted_are_in_the_file(session: Session) -> None:
    def locked() -> None:
        for name, value in (("since_ns", 1), ("tgid", 9), ("tid", 9), ("rip", 5), ("count", 300)):
            session.host.bus_locks[name][1] = value
        session.host.count(bus_lock_NONE=302, bus_lock_TABLE_FULL=2)

    session.rings(trap=[then(locked), then(stop)])
    session.run()
    with session.opened() as recording:
        records = recording.records("bus_lock")
        assert records[["tgid", "tid", "rip"]].tolist() == [(9, 9, 5)] * len(records)
        assert records["count"].sum() == 300
        assert [(loss.kind, loss.cause, loss.count) for loss in recording.losses] == [
            ("bus_lock", "table_full", 2)
        ]


def test_losses_are_written_while_it_goes_on(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they are in the file of a recorder that is killed."""
    monkeypatch.setattr(recorder, "_ACCOUNT_NS", 1)
    session.host.count(trap_NONE=5, trap_RING_FULL=2)
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
    assert session.statuses[0].lost == 2


def test_the_status_is_reported_once_a_second(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_ACCOUNT_NS", 600_000 * MS)  # a busy machine may need more than a second
    session.rings(trap=[traps(1), traps(1, MS), then(stop)])
    session.run()
    assert session.statuses == []
    monkeypatch.setattr(recorder, "_ACCOUNT_NS", 1)
    session.rings(trap=[traps(1), traps(1, MS), then(stop)])  # one more read, with the signal
    session.run(force=True)
    assert [status.traps for status in session.statuses] == [1, 2, 2, 2]


# What it costs


@pytest.mark.parametrize("allowed", [True, False])
def test_the_cost_is_in_the_closing_facts(session: Session, allowed: bool) -> None:
    session.host.stats_allowed = allowed
    session.host.runs = {"kfunc__vmlinux__handle_guest_split_lock": Runs(5_000, 0)}
    session.rings(trap=[then(stop)])
    status = session.run()
    with session.opened() as recording:
        assert recording.closing is not None
        assert recording.closing["cost"] == status.cost
    assert status.cost["elapsed_ns"] > 0
    assert status.cost["memory_bytes"] > 1 << 20
    assert (status.cost["probes_ns"] is not None) == allowed


def test_a_probe_that_is_missing_from_the_start_is_a_warning(session: Session) -> None:
    session.host.refused["raw_tracepoint__signal_generate"] = "invalid indirect read"
    session.rings(trap=[then(stop)])
    session.run()
    warning = "warning: signal:signal_generate is not attached: invalid indirect read"
    assert session.messages.index(warning) < session.messages.index(f"recording to {session.path}")


def test_the_end_of_a_second_costs_something_too(session: Session) -> None:
    session.rings(trap=[then(stop, traps(1))])
    session.host.runs["kfunc__vmlinux__split_lock_warn"] = Runs(5_000_000, 0)
    status = session.run()
    assert status.cost["probes_ns"] == 5_000_000


# What is shown while it runs


def test_who_looks_on_sees_the_sums_of_what_was_read(session: Session) -> None:
    session.rings(trap=[traps(5), traps(3, 100 * MS), then(stop, traps(2, 200 * MS))])
    session.host.count(trap_NONE=10)
    seen = []
    status = session.run(lambda live, now: seen.append((live.status.traps, live.detector)))
    assert [count for count, _ in seen][:3] == [5, 8, 10]
    assert status.traps == int(seen[-1][1].threads()["traps"].sum()) == 10


def test_without_a_path_nothing_is_written(session: Session) -> None:
    session.rings(trap=[then(stop, traps(5))])
    session.host.count(trap_NONE=5)
    status = session.run(path=None)
    assert (status.traps, status.early_returns, status.ended_by) == (5, 5, "SIGINT")
    assert list(session.path.parent.iterdir()) == []
    assert session.messages[1] == "watching"
