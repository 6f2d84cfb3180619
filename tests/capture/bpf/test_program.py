"""Maps of the loaded program, reached as memory; the maps are memory files."""

import os
import struct

import numpy as np
import pytest

from sldtrace.capture.bpf import program, syscalls
from sldtrace.capture.bpf.loader import Loaded
from sldtrace.capture.bpf.program import RINGS, Program
from sldtrace.capture.bpf.sources import Sizes
from sldtrace.capture.bpf.syscalls import Runs
from sldtrace.host import kernel
from sldtrace.recording import schema
from tests.capture.memory import RingFile

CPUS = 3
SIZES = Sizes(*[1] * 9)


def table(pages: int = 1) -> int:
    descriptor = os.memfd_create("map")
    os.ftruncate(descriptor, pages * 4096)
    return descriptor


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.setattr(kernel, "possible_cpus", lambda: CPUS)
    monkeypatch.setattr(syscalls, "map_push", lambda descriptor, value: None)
    maps = {"controls": table(), "event_counts": table(), "free_slots": table()}
    return Loaded(maps, {"kprobe__f": table()}, {"g": "no"}, {"a.c": "why"})


def test_all_slots_are_free_at_the_start_and_the_lowest_are_used_first(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[tuple[int, bytes]] = []
    monkeypatch.setattr(syscalls, "map_push", lambda *given: pushed.append(given))
    Program(loaded, SIZES)
    assert {descriptor for descriptor, _ in pushed} == {loaded.maps["free_slots"]}
    assert [struct.unpack("<I", value)[0] for _, value in pushed] == list(range(2048, 0, -1))


def test_counters_have_a_place_for_each_kind_cause_and_cpu(loaded: Loaded) -> None:
    made = Program(loaded, SIZES)
    sizes = schema.enumeration("event_counts").values
    kinds, causes = sizes["KINDS"], sizes["CAUSES"]
    places = [(0, 0, 0), (1, 3, 2), (kinds - 1, causes - 1, 1), (2, 1, 0)]
    for number, (kind, cause, cpu) in enumerate(places, 1):
        # As bpf/thread.bpf.c computes it.
        at = 8 * ((cpu * kinds + kind) * causes + cause)
        os.pwrite(loaded.maps["event_counts"], struct.pack("<Q", number << 40), at)
    found = made.event_counts()
    assert found.shape == (kinds, causes, CPUS)
    assert found.dtype == np.uint64
    assert [int(found[place]) >> 40 for place in places] == [1, 2, 3, 4]
    assert np.count_nonzero(found) == len(places)
    os.pwrite(loaded.maps["event_counts"], struct.pack("<Q", 99), 0)
    assert found[0, 0, 0] == 1 << 40
    assert made.event_counts()[0, 0, 0] == 99


def test_tells_the_probes_by_the_numbers_of_events_h(loaded: Loaded) -> None:
    made = Program(loaded, SIZES)

    def read(name: str) -> int:
        at = 8 * schema.enumeration("control").values[name]
        return int(struct.unpack("<Q", os.pread(loaded.maps["controls"], 8, at))[0])

    made.set_control("EXITS", (1 << 63) + 5)
    made.set_control("OPEN", 1)
    assert (read("EXITS"), read("OPEN"), read("MSR"), read("SCOPE")) == ((1 << 63) + 5, 1, 0, 0)
    made.set_control("OPEN", 0)
    assert read("OPEN") == 0


def test_a_ring_for_each_map_that_there_is(loaded: Loaded) -> None:
    dtype = schema.current().records["trap"].dtype
    ring = RingFile(4096, dtype.itemsize)
    loaded.maps["traps"] = ring.fd
    made = Program(loaded, SIZES)
    assert list(made.rings) == ["trap"]
    record = np.zeros(1, dtype)
    record["rip"] = 0x7C40
    ring.reserve(record.tobytes())
    assert made.rings["trap"].read()["rip"].tolist() == [0x7C40]
    assert len(set(RINGS.values())) == len(RINGS)


def test_without_kvm_there_are_no_counters_of_exits(loaded: Loaded) -> None:
    assert Program(loaded, SIZES).counters is None


def test_why_something_is_missing_is_passed_on(loaded: Loaded) -> None:
    made = Program(loaded, SIZES)
    assert (made.refused, made.filtered) == ({"g": "no"}, {"a.c": "why"})


def test_runs_are_counted_by_function(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Program(loaded, SIZES)
    descriptor = loaded.programs["kprobe__f"]
    monkeypatch.setattr(syscalls, "program_runs", {descriptor: Runs(5, 7)}.__getitem__)
    assert made.runs() == {"kprobe__f": Runs(5, 7)}


@pytest.mark.parametrize("error", [None, OSError(7, "Argument list too long")])
def test_leaving_out_a_process(
    error: OSError | None, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def update(*arguments: object) -> None:
        calls.append(arguments)
        if error:
            raise error

    monkeypatch.setattr(syscalls, "map_update", update)
    loaded.maps["filtered"] = table()
    Program(loaded, SIZES).filter_out(0x01020304)
    assert calls == [(loaded.maps["filtered"], b"\4\3\2\1", b"\1")]


def test_closing_unloads_everything(loaded: Loaded) -> None:
    made = Program(loaded, SIZES)
    descriptors = [*loaded.maps.values(), *loaded.programs.values()]
    made.close()
    assert made.functions == {}
    for each in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(each)


def test_the_page_is_that_of_x86() -> None:
    assert os.sysconf("SC_PAGE_SIZE") == program.PAGE
