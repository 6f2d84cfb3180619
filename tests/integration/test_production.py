"""One recording with everything in it: nothing lost silently, per kind; the right content; no pair mixed up.

What ran is in production.py. The kernel's own counts come from hist triggers and a trace buffer of tracefs.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sldtrace.capture.bpf import filters
from sldtrace.dataset import frames
from sldtrace.model import penalty
from sldtrace.recording import schema
from sldtrace.recording.reader import Recording, open_recording
from tests.conftest import Scenario

pytestmark = [
    pytest.mark.lab,
    pytest.mark.every_kernel("every kind of record is accounted for: tracepoints, preemption, locks"),
]

SPLIT_LOCK = (0, 17)  # exception, #AC: Intel SDM volume 3, appendix C
EXIT_IO = 30
USER_IO, USER_INTR = 2, 10  # include/uapi/linux/kvm.h
SIGUSR1, SI_TIMER, EINTR = 10, -2, 4
LINE = re.compile(
    r"-(?P<tid>\d+) +\( *(?P<tgid>\d+|-+)\) .* (?P<s>\d+)\.(?P<us>\d{6}): (?P<event>\w+): (?P<text>.*)"
)
MOMENT_US = 100  # of the emulated CPU
STACK = re.compile(r"-(?P<tid>\d+) .*: <stack trace>")
WAITS = {"srcu": "srcu_end", "expedited": "expedited_end", "contention_begin": "contention_end"}


@pytest.fixture(scope="module")
def recording(production: Scenario) -> Recording:
    return open_recording(production.folder / "flood.sld")


def threads(production: Scenario) -> dict[str, list[int]]:
    """The vCPU threads by the name of what they did."""
    guests = production.protocol["guests"]
    found = {name: [one["tid"] for vm in guests[name]["vms"] for one in vm["vcpus"]] for name in guests}
    return found | {name: [each["tid"]] for name, each in production.protocol["lives"].items()}


def everybody(production: Scenario) -> set[int]:
    return {tid for tids in threads(production).values() for tid in tids}


def of(records: Any, tids: list[int]) -> Any:
    return records[np.isin(records["tid"], tids)]


def histogram(production: Scenario, event: str) -> list[list[int]]:
    """[TID, other keys..., hits] for the vCPU threads."""
    found = production.protocol["counted"][event]
    assert found["dropped"] == 0
    wanted = everybody(production)
    return [row for row in found["rows"] if row[0] in wanted]


def lost(recording: Recording, kind: str) -> int:
    return sum(each.count for each in recording.losses if each.kind == kind)


def skipped(recording: Recording, program: str) -> int:
    assert recording.closing is not None
    return int(recording.closing["skipped"].get(program, 0))


@dataclass(frozen=True)
class Event:
    """A line of the kernel's own trace; us: on the clock of the records, in microseconds."""

    tid: int
    tgid: int
    us: int
    name: str
    text: str
    fields: dict[str, str]
    stack: list[str]


@pytest.fixture(scope="module")
def trace(production: Scenario) -> list[Event]:
    """The kernel's own trace, by time."""
    assert production.protocol["counted"]["trace lost"] == 0
    found: list[Event] = []
    waiting: dict[int, Event] = {}
    stack: list[str] = []
    for line in (production.folder / "flood.trace").read_text().splitlines():
        if line.startswith(" => "):
            stack.append(line[4:])
        elif match := STACK.search(line):
            stack = waiting[int(match["tid"])].stack
        elif match := LINE.search(line):
            tgid = int(match["tgid"]) if match["tgid"].isdigit() else 0
            fields = dict(re.findall(r"(\w+)=(\S+)", match["text"]))
            us = int(match["s"]) * 1_000_000 + int(match["us"])
            found.append(Event(int(match["tid"]), tgid, us, match["event"], match["text"], fields, []))
            if found[-1].name in WAITS:
                waiting[found[-1].tid] = found[-1]
    return found


def recent_only(production: Scenario, trace: list[Event], name: str, records: Any) -> list[dict[str, str]]:
    """Those events of the vCPU threads, of each for a second after a trap (SLD_RECENT_NS).

    A timer may still send a signal to a thread that has ended; then no thread traps any more. A thread is
    known a moment after the kernel's own probe has seen its first trap: events in between count if they
    were recorded.
    """
    wanted, found = everybody(production), []
    first: dict[int, int] = {}
    newest: dict[int, int] = {}
    for event in trace:
        if event.name == "traps":
            first.setdefault(event.tid, event.us)
            newest[event.tid] = event.us
        elif event.name == "sched_process_exit":
            first.pop(event.tid, None)
        elif event.name == name and (tid := int(event.fields["pid"])) in wanted & first.keys():
            known = event.us - first[tid] > MOMENT_US or recorded(records, tid, event.us)
            if known and event.us - newest[tid] < filters.RECENT_NS // 1000:
                found.append(event.fields)
    return found


def recorded(records: Any, tid: int, us: int) -> bool:
    mine = records[records["tid"] == tid]["ns"].astype(np.int64)
    return bool((np.abs(mine - us * 1000) < MOMENT_US * 1000).any())


def test_traps(production: Scenario, recording: Recording) -> None:
    counted = sum(hits for _, hits in histogram(production, "counter/traps"))
    traps, gone = len(recording.records("trap")), lost(recording, "trap")
    assert traps + gone == counted
    assert gone > 1000 < traps
    assert recording.closing is not None
    assert recording.closing["unfinished"] == {"trap": 0, "exit": 0}
    assert recording.closing["seen"]["trap"] == counted


def test_exits(production: Scenario, recording: Recording) -> None:
    counted = sum(hits for *_, hits in histogram(production, "kvm/kvm_exit"))
    gone = lost(recording, "exit")
    missed = skipped(recording, "tracepoint__kvm__kvm_exit")
    assert len(recording.records("exit")) + gone + missed == counted
    assert gone > 1000
    assert missed < 5


def test_counts(production: Scenario, recording: Recording) -> None:
    """They come through no ring: nothing of them is ever lost, whatever the recorder does."""
    counts = recording.records("counts")
    by_kernel: dict[tuple[int, int], int] = {}
    for tid, reason, hits in histogram(production, "kvm/kvm_exit"):
        by_kernel[tid, reason] = by_kernel.get((tid, reason), 0) + hits
    ours: dict[tuple[int, int], int] = {}
    for row in counts:
        key = int(row["tid"]), int(row["reason"])
        ours[key] = ours.get(key, 0) + int(row["count"])
    missed = skipped(recording, "tracepoint__kvm__kvm_exit")
    assert sum(by_kernel.values()) - sum(ours.values()) == missed
    if not missed:
        assert ours == by_kernel


def test_user_exits(production: Scenario, recording: Recording) -> None:
    counted = sum(hits for *_, hits in histogram(production, "kvm/kvm_userspace_exit"))
    gone = lost(recording, "user_exit")
    # Since 7.0 it may be preempted (a46023d5616e), and is then skipped for the thread that runs on the CPU.
    missed = skipped(recording, "raw_tracepoint__kvm_userspace_exit")
    assert len(recording.records("user_exit")) + gone + missed == counted
    assert gone > 1000


def test_signals(production: Scenario, recording: Recording, trace: list[Event]) -> None:
    ours = recording.records("signal")
    ours = ours[ours["tid"] != 0]
    # Those that leave a new signal pending (include/trace/events/signal.h).
    every = [one for one in recent_only(production, trace, "signal_generate", ours) if one["grp"] == "0"]
    counted = [one for one in every if one["res"] in ("0", "4")]
    gone = lost(recording, "signal")
    assert len(ours) + gone == len(counted)
    assert skipped(recording, "raw_tracepoint__signal_generate") == 0
    assert gone > 500


def test_detections(production: Scenario, recording: Recording) -> None:
    """Whoever writes MSR_TEST_CTRL: half of the writes are a worker's, which switches detection on again."""
    found = production.protocol["counted"]["msr/write_msr"]
    assert found["dropped"] == 0
    gone = lost(recording, "detection")
    assert len(recording.records("detection")) + gone == found["hits"]
    assert gone > 0


def test_migrations(production: Scenario, recording: Recording, trace: list[Event]) -> None:
    ours = recording.records("migrate")
    counted = recent_only(production, trace, "sched_migrate_task", ours)
    gone = lost(recording, "migrate")
    assert len(ours) + gone == len(counted)
    assert skipped(recording, "raw_tracepoint__sched_migrate_task") == 0
    assert gone > 100


def test_tasks(production: Scenario, recording: Recording) -> None:
    """A thread has a record when it first runs a vCPU or traps."""
    lives = dict.fromkeys(everybody(production), 1)
    for name in ("again", "exec"):  # the same TID a second time
        lives[production.protocol["lives"][name]["tid"]] = 2
    met = {row[0] for event in ("kvm/kvm_exit", "counter/traps") for row in histogram(production, event)}
    assert len(recording.records("task")) + lost(recording, "task") == sum(lives[tid] for tid in met)


def test_stalls(production: Scenario, recording: Recording, trace: list[Event]) -> None:
    """All waits of a process inside KVM from its first trap until its first thread ends."""
    known = {one["pid"] for name in ("guests", "lives") for one in production.protocol[name].values()}
    counted, ours = intervals(trace, known), recording.records("stall")
    gone = lost(recording, "stall")
    assert len(ours) + gone == len(counted)
    assert gone > 50
    # From begin to end, whatever the thread did in between; an interrupt may come between trace and probe.
    begins, ends = (np.array([getattr(one, name) for one in counted]) for name in ("begin_us", "end_us"))
    tids = np.array([one.tid for one in counted])
    for row in ours:
        near = np.abs(begins - int(row["ns"]) // 1000) < 5 * MOMENT_US
        near &= np.abs(ends - int(row["end_ns"]) // 1000) < 5 * MOMENT_US
        assert (near & (tids == row["tid"])).any(), row


@dataclass(frozen=True)
class Interval:
    """A wait of a thread."""

    tid: int
    begin_us: int
    end_us: int


def intervals(trace: list[Event], known: set[int]) -> list[Interval]:
    """The waits of each thread in KVM; what is inside of another is one with it.

    A mutex is known by its address; that it is begun again means that after spinning the thread sleeps.
    """
    found = []
    trapped: set[int] = set()
    begun: dict[int, list[tuple[str, str, int]]] = {}
    for event in trace:
        if event.name == "penalized":
            trapped.add(event.tgid)
        elif event.name == "sched_process_exit" and event.tid == event.tgid:
            trapped.discard(event.tgid)
        if event.tgid not in known & trapped or event.name not in {*WAITS, *WAITS.values()}:
            continue
        outer = begun.setdefault(event.tid, [])
        lock = event.text.split()[0] if event.name.startswith("contention") else ""
        if event.name in WAITS:
            wanted = any("kvm" in each for each in event.stack)
            if wanted and not (lock and outer and outer[-1][:2] == (WAITS[event.name], lock)):
                outer.append((WAITS[event.name], lock, event.us))
        elif outer and outer[-1][:2] == (event.name, lock):
            *_, begin = outer.pop()
            if not outer:
                found.append(Interval(event.tid, begin, event.us))
    return found


# Content


def test_each_exit_has_its_entry(production: Scenario, recording: Recording) -> None:
    exits = of(recording.records("exit"), threads(production)["moved"])
    split = exits[(exits["reason"] == SPLIT_LOCK[0]) & (exits["intr_info"] & 0xFF == SPLIT_LOCK[1])]
    assert len(split) > 300
    assert (split["rip"] == int(production.protocol["guests"]["moved"]["locked_address"], 16)).all()
    assert (split["guest_ns"] > 0).mean() > 0.99
    flags = schema.current().enums["exit_flags"].values
    paired = exits[exits["flags"] & flags["NO_ENTRY"] == 0]
    assert len(paired) >= len(exits) - 1
    assert (paired["host_ns"] > 0).all()
    # It slept most of a millisecond after each, and then the monitor had its turn.
    assert np.median(split["host_ns"]) == pytest.approx(1.2e6, rel=0.3)
    assert (split["flags"] & flags["USER"] != 0).mean() > 0.99
    assert (np.diff(np.sort(exits["ns"]).astype(np.int64)) > 0).all()
    known = set(split["exit_cpu"].tolist()) | set(split["entry_cpu"].tolist())
    assert known == {0, 1}


def test_exits_of_a_guest_that_counts_its_own(production: Scenario, recording: Recording) -> None:
    ports = production.protocol["guests"]["ports"]
    counts = of(recording.records("counts"), threads(production)["ports"])
    io = counts[counts["reason"] == EXIT_IO]
    assert abs(int(io["count"].sum()) - ports["io_exits"]) <= 1
    # The last one was not followed by an entry.
    assert 0 <= int(io["count"].sum()) - int(io["host_log2"].sum()) <= 1
    assert (io["vector"] == -1).all()
    assert (io["isa"] == 1).all()
    user = of(recording.records("user_exit"), threads(production)["ports"])
    user = user[user["error"] == 0]
    assert set(user["reason"].tolist()) == {USER_IO}


def test_user_exits_and_signals_of_a_frozen_guest(production: Scenario, recording: Recording) -> None:
    (tid,) = threads(production)["moved"]
    user = of(recording.records("user_exit"), [tid])
    assert len(user) > 300
    assert set(zip(user["reason"].tolist(), user["error"].tolist(), strict=True)) == {(USER_INTR, -EINTR)}
    signals = of(recording.records("signal"), [tid])
    assert {*zip(signals["signal"].tolist(), signals["signal_code"].tolist(), strict=True)} >= {
        (SIGUSR1, SI_TIMER)
    }
    assert (signals["signal_code"] == SI_TIMER).mean() > 0.98


def test_migrations_name_who_moved_it(production: Scenario, recording: Recording) -> None:
    moved = production.protocol["guests"]["moved"]
    rows = of(recording.records("migrate"), threads(production)["moved"])
    rows = rows[np.argsort(rows["ns"])]
    assert len(rows) > 50
    assert (rows["from_cpu"] != rows["to_cpu"]).all()
    assert (rows["from_cpu"][1:] == rows["to_cpu"][:-1]).mean() > 0.95
    assert (rows["by_tgid"] == moved["pid"]).mean() > 0.1
    traps = of(recording.records("trap"), threads(production)["moved"])
    assert (traps["start_cpu"] != traps["end_cpu"]).sum() > 20


def stalls(production: Scenario, recording: Recording, name: str, what: str) -> Any:
    rows = of_process(recording.records("stall"), production, name)
    return rows[rows["what"] == schema.current().enums["stall_kind"].values[what]]


def of_process(records: Any, production: Scenario, name: str) -> Any:
    known = production.protocol["guests"].get(name) or production.protocol["lives"][name]
    return records[records["tgid"] == known["pid"]]


def names(recording: Recording) -> dict[str, str]:
    found: dict[str, str] = {}
    for update in recording.updates:
        found = update.get("kvm", {}).get("functions", found)
    return found


def test_a_thread_that_changes_memory_slots_waits(production: Scenario, recording: Recording) -> None:
    rows = stalls(production, recording, "moved", "SRCU")
    (tid,) = threads(production)["moved"]
    assert set(rows["penalized_tid"].tolist()) <= {0, tid}
    assert (rows["penalized_tid"] == tid).sum() > 10
    assert (rows["tid"] != tid).all()
    callers = {names(recording)[str(caller)] for caller in rows["caller"].tolist()}
    assert all(re.match(r"kvm_|__kvm_", name) for name in callers), callers


def test_a_thread_that_reads_registers_waits(production: Scenario, recording: Recording) -> None:
    rows = stalls(production, recording, "query", "MUTEX")
    assert len(rows) > 10
    assert {names(recording)[str(caller)] for caller in rows["caller"].tolist()} == {"kvm_vcpu_ioctl"}
    assert len(set(rows["lock"].tolist())) == 1
    rows = rows[rows["penalized_tid"] != 0]
    (tid,) = threads(production)["query"]
    assert set(rows["penalized_tid"].tolist()) == {tid}
    traps = np.sort(of(recording.records("trap"), [tid]), order="start_ns")
    during = traps[np.searchsorted(traps["start_ns"], rows["ns"], side="right") - 1]["end_ns"]
    rows, during = rows[during > rows["ns"]], during[during > rows["ns"]]
    assert len(rows) > 10
    assert (rows["end_ns"] > during).all()  # KVM_RUN holds vcpu->mutex until the penalty is over


# Lives and deaths


@pytest.mark.parametrize("name", ["first", "exec", "killed"])
def test_runs_of_a_thread_do_not_overlap(production: Scenario, recording: Recording, name: str) -> None:
    """The same TID twice: another process of that number; another program in the same process."""
    traps = of(recording.records("trap"), threads(production)[name])
    traps = traps[np.argsort(traps["start_ns"])]
    assert len(traps) > 100
    assert (traps["end_ns"] > traps["start_ns"]).all()
    assert (traps["start_ns"][1:] >= traps["end_ns"][:-1]).all()
    assert (traps["sleep_ns"] < traps["end_ns"] - traps["start_ns"]).all()
    assert (traps["end_ns"] - traps["start_ns"]).max() < 50_000_000
    assert (traps["exits"] < 20).all()
    assert (traps["guest_ns"] < 100_000_000).all()
    assert set(traps["vcpu"].tolist()) == {0}
    assert recorded_twice(recording, threads(production)[name]) == (name != "killed")


def recorded_twice(recording: Recording, tids: list[int]) -> bool:
    """Was a thread of that TID met again, long after the first time?"""
    times = of(recording.records("task"), tids)["ns"].astype(np.int64)
    return bool(times.max() - times.min() > 300_000_000)


def test_the_tid_was_really_used_again(production: Scenario) -> None:
    lives = production.protocol["lives"]
    assert lives["again"]["pid"] == lives["first"]["pid"]
    assert [lives[name]["status"] for name in ("first", "again", "exec", "query")] == [0] * 4


def test_a_clock_that_is_set_leaves_wall_times_right(production: Scenario, recording: Recording) -> None:
    """An hour ahead, between two guests; by the scenario's own look at the clocks."""
    before, after = production.protocol["clocks"]
    assert after["realtime_ns"] - before["realtime_ns"] > 3600 * 10**9
    traps = recording.records("trap")
    for name, clock in (("killed", before), ("while stopped", after)):
        times = pd.Series(of(traps, threads(production)[name])["start_ns"].astype(np.int64))
        right = times + (clock["realtime_ns"] - clock["monotonic_ns"])
        wall = frames.wall_clock(recording, times).astype(np.int64)
        assert (wall - right).abs().max() < 10_000_000


def test_two_cpus_that_trap_at_once_share_the_work_item_as_the_model_says(
    production: Scenario, recording: Recording
) -> None:
    """Of this kernel; what is found then, see test_findings.py."""
    left = sorted(value >> 29 & 1 for value in production.protocol["msr"].values())
    assert left == ([0, 1] if penalty.from_facts(recording.facts).shared_reenable else [1, 1])
