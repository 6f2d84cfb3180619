"""The trace for Perfetto: its own classes decode it, slices nest, and the numbers are those of the report."""

import io
import json
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace as Proto
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

from sldtrace.dataset import folding
from sldtrace.export import perfetto
from tests.analyzers.synthetic import MS, START_NS, loop, trace
from tests.reporters import cases, rendering

NAMES = [
    "livelock",
    "detail",
    "locks",
    "storm",
    "queue",
    "fatal",
    "lab-early-return-loop",
    "lab-semaphore-queue",
]


@cache
def packets(name: str) -> tuple[Any, ...]:
    with TemporaryDirectory() as folder:
        file = io.BytesIO()
        perfetto.write(cases.CASES[name](Path(folder)), file)
    found = Proto()
    found.ParseFromString(file.getvalue())
    return tuple(found.packet)


def interned(name: str) -> dict[int, str]:
    return {each.iid: each.name for packet in packets(name) for each in packet.interned_data.event_names}


def events(name: str) -> list[Any]:
    """The events with their times, as Perfetto orders them: by time, and then as in the file."""
    found = [packet for packet in packets(name) if packet.HasField("track_event")]
    return sorted(found, key=lambda packet: packet.timestamp)


def tracks(name: str) -> dict[int, Any]:
    return {
        each.track_descriptor.uuid: each.track_descriptor
        for each in packets(name)
        if each.track_descriptor.uuid
    }


def slices(name: str) -> dict[int, list[tuple[str, int, int, int]]]:
    """Name, start, end and depth of the slices of each track, by their ends; they must nest."""
    names = interned(name)
    stacks: dict[int, list[tuple[str, int]]] = defaultdict(list)
    found = defaultdict(list)
    for packet in events(name):
        event = packet.track_event
        stack = stacks[event.track_uuid]
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            stack.append((names[event.name_iid], packet.timestamp))
        elif event.type == TrackEvent.TYPE_SLICE_END:
            which, start = stack.pop()
            found[event.track_uuid].append((which, start, packet.timestamp, len(stack)))
    assert not any(stacks.values())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_track_and_name_is_described_before_it_is_used(name: str) -> None:
    described, named = set(), set()
    for packet in packets(name):
        assert packet.trusted_packet_sequence_id == 1
        named |= {each.iid for each in packet.interned_data.event_names}
        if packet.track_descriptor.uuid:
            parent = packet.track_descriptor.parent_uuid
            assert not parent or parent in described
            described.add(packet.track_descriptor.uuid)
        if packet.HasField("track_event"):
            assert packet.track_event.track_uuid in described
            assert not packet.track_event.name_iid or packet.track_event.name_iid in named
    assert packets(name)[0].sequence_flags == 1
    assert packets(name)[0].trace_packet_defaults.timestamp_clock_id == 3


@pytest.mark.parametrize("name", NAMES)
def test_slices_nest_as_they_should(name: str) -> None:
    for found in slices(name).values():
        for which, start, end, depth in found:
            assert start <= end
            assert depth == (1 if which in ("sleep", "wait for the semaphore") else 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_those_of_the_report(name: str, tmp_path: Path) -> None:
    longest = folding.fold(cases.CASES[name](tmp_path)).assumed.longest_sleep_ns
    threads = json.loads(rendering.as_json(cases.report(name)))["threads"]
    by_track = slices(name)
    by_thread = {each.thread.tid: uuid for uuid, each in tracks(name).items() if each.HasField("thread")}
    for thread in threads:
        found = by_track[by_thread[thread["tid"]]]
        counts = Counter(which for which, *_ in found)
        assert counts["early return"] == thread["early_returns"]
        assert counts["completed"] == thread["completed"]
        assert counts["not penalized"] == thread["not_penalized"]
        assert counts["fatal"] == thread["fatal"]
        # What is beyond the kernel's longest sleep is not sleep in the report: the thread waits for a CPU.
        slept = [min(end - start, longest) for which, start, end, _ in found if which == "sleep"]
        assert sum(slept) == thread["slept_ns"]
    traps = [each for each in events(name) if each.track_event.debug_annotations]
    assert len(traps) == sum(thread["traps"] for thread in threads)


def test_a_flow_leads_from_each_signal_to_the_sleep_that_it_ended() -> None:
    signals = [each for each in events("lab-early-return-loop") if each.track_event.flow_ids]
    ends = [each for each in events("lab-early-return-loop") if each.track_event.terminating_flow_ids]
    (thread,) = json.loads(rendering.as_json(cases.report("lab-early-return-loop")))["threads"]
    assert len(signals) == thread["early_returns"]
    begun = {each.track_event.flow_ids[0]: each.timestamp for each in signals}
    assert len(begun) == len(signals)
    for each in ends:
        assert begun.pop(each.track_event.terminating_flow_ids[0]) <= each.timestamp
    assert not begun


def test_tracks_are_processes_threads_and_cpus() -> None:
    found = tracks("detail").values()
    assert {each.process.process_name for each in found if each.HasField("process")} == {"qemu-system-x86"}
    threads = [each.thread for each in found if each.HasField("thread")]
    assert "vCPU 0" in {each.thread_name for each in threads}
    assert {"CPU 0", "CPU 1", "timers and kernel", "lost records"} <= {each.name for each in found}


def test_the_clock_is_that_of_the_host(tmp_path: Path) -> None:
    recorded = cases.livelock(tmp_path)
    (snapshot,) = [each.clock_snapshot for each in packets("livelock") if each.HasField("clock_snapshot")]
    clocks = {each.clock_id: each.timestamp for each in snapshot.clocks}
    assert clocks[1] == recorded.wall_ns(clocks[3])


def test_counters_have_the_traps_of_each_second() -> None:
    counts = [each for each in events("livelock") if each.track_event.type == TrackEvent.TYPE_COUNTER]
    assert counts
    most = json.loads(rendering.as_json(cases.report("livelock")))["recording"]["counts"]["trap"]
    assert 0 < max(each.track_event.counter_value for each in counts) <= most
    assert counts[-1].track_event.counter_value == 0


def test_lost_records_are_in_the_trace_when_they_were_lost(tmp_path: Path) -> None:
    found = [(each.timestamp, each.track_event.name) for each in packets("detail") if each.track_event.name]
    lost = cases.CASES["detail"](tmp_path).recording.records("lost")
    assert [ns for ns, _ in found] == [int(each["since_ns"] or each["ns"]) for each in lost]
    assert [name.startswith("100 exit records lost (ring_full)") for _, name in found] == [True] * 3


def test_a_loss_says_how_long_it_lasted(tmp_path: Path) -> None:
    lost = [
        {"ns": START_NS + 7 * MS, "since_ns": START_NS + 5 * MS, "count": 9, "kind": 1, "cause": 1, "cpu": 0},
        {"ns": START_NS + 8 * MS, "since_ns": 0, "count": 1, "kind": 1, "cause": 1, "cpu": 0},
    ]
    recorded = trace(tmp_path, loop(200), more={"lost": lost})
    file = io.BytesIO()
    perfetto.write(recorded, file)
    decoded = Proto()
    decoded.ParseFromString(file.getvalue())
    named = [(each.timestamp, each.track_event.name) for each in decoded.packet if each.track_event.name]
    assert named == [
        (START_NS + 5 * MS, "9 trap records lost (ring_full) in 2 ms"),
        (START_NS + 8 * MS, "1 trap record lost (ring_full), or earlier"),
    ]
