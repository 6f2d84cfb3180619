"""Counters of VM exits in shared memory: the layout is that of the C side, each exit is read once."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sldtrace import resources
from sldtrace.capture.bpf import counters, slots, syscalls
from sldtrace.capture.bpf.counters import CELL, VCPU, Counters
from sldtrace.recording import schema
from tests.capture.memory import table

LIMITS = schema.enumeration("counters").values
CELLS = LIMITS["CELLS"]
SLOTS = slots.count()
SUMS = ("count", "guest_ns", "host_ns")


def structure(name: str) -> str:
    text = (resources.bpf() / "thread.bpf.c").read_text()
    (found,) = re.findall(rf"^struct {name} {{\n.*?^}};", text, re.M | re.S)
    return re.sub(r"/\*.*?\*/", "", found)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize(("name", "dtype"), [("sld_vcpu", VCPU), ("sld_cell", CELL)])
def test_layouts_are_those_of_the_probes(name: str, dtype: "np.dtype[np.void]", tmp_path: Path) -> None:
    declared = structure(name)
    members = re.findall(r"(\w+)(?:\[\w+\])?;", declared)
    assert dtype.names is not None
    assert list(dtype.names) == members
    lines = ["#include <stddef.h>", "#include <stdio.h>", "#include <linux/types.h>"]
    lines += [f"typedef __{kind} {kind};" for kind in ("u16", "u32", "s32", "u64")]
    lines += ['#include "events.h"', *{structure("sld_cell"): 0, declared: 0}, "int main(void) {"]
    lines += [f'printf("%zu\\n", sizeof(struct {name}));']
    expected = [dtype.itemsize]
    assert dtype.fields is not None
    for member in members:
        place = f"((struct {name} *)0)->{member}"
        lines.append(f'printf("%zu\\n%zu\\n", offsetof(struct {name}, {member}), sizeof({place}));')
        expected += [dtype.fields[member][1], dtype.fields[member][0].itemsize]
    lines.append("return 0; }")
    (tmp_path / "layout.c").write_text("\n".join(lines))
    command = ["gcc", "-Wall", "-Werror", f"-I{resources.bpf()}", "layout.c", "-o", "layout"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    assert list(map(int, printed.split())) == expected


class Probes:
    """The probes' side of the maps, and the slots that are made free."""

    def __init__(self) -> None:
        vcpus, self.vcpus = table(VCPU, SLOTS + 1)
        followed, self.followed = table("<u8", SLOTS + 1)
        self.cells = self.vcpus["cells"]
        self.maps = {"vcpus": vcpus, "followed": followed, "free_slots": -7}
        self.freed: list[int] = []

    def create(self, slot: int, tid: int, tgid: int = 200, vcpu: int = 0, since_ns: int = 1) -> None:
        self.followed[slot] = 1
        for name, value in (("tid", tid), ("tgid", tgid), ("vcpu", vcpu), ("since_ns", since_ns)):
            self.vcpus[name][slot] = value

    def exits(
        self, slot: int, cell: int, count: int, reason: int = 12, guest: int = 0, host: int = 0
    ) -> None:
        """So many more, with so much time each."""
        self.vcpus["exits"][slot] += count
        for name, value in (("count", count), ("guest_ns", count * guest), ("host_ns", count * host)):
            self.cells[name][slot, cell] += value
        self.cells["reason"][slot, cell] = reason
        self.cells["vector"][slot, cell] = -1
        self.cells["isa"][slot, cell] = 1
        if host:
            self.cells["host_log2"][slot, cell, host.bit_length() - 1] += count


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    made = Probes()

    def push(descriptor: int, value: bytes) -> None:
        assert descriptor == -7
        # Nothing of the thread is left: the next one in the entry starts at zero.
        index = int.from_bytes(value, "little")
        assert not made.vcpus[index].tobytes().strip(b"\0")
        assert not made.followed[index]
        made.freed.append(index)

    monkeypatch.setattr(syscalls, "map_push", push)
    return made


def row(record: np.void, *names: str) -> list[int]:
    return [int(record[name]) for name in names]


def test_each_reading_has_what_was_added(probes: Probes) -> None:
    counting = Counters(probes.maps)
    assert len(counting.read()) == 0
    probes.create(5, 201, vcpu=3)
    probes.exits(5, 2, 10, reason=12, guest=100, host=1000)
    (first,) = counting.read()
    assert row(first, *SUMS) == [10, 1000, 10_000]
    assert row(first, "tgid", "tid", "vcpu", "reason", "vector", "isa") == [200, 201, 3, 12, -1, 1]
    assert first["host_log2"].tolist() == [0] * 9 + [10] + [0] * 22
    assert len(counting.read()) == 0
    probes.exits(5, 2, 3, host=5)
    probes.exits(5, 4, 1, reason=48)
    second = counting.read()
    assert [row(each, "count", "reason") for each in second] == [[3, 12], [1, 48]]
    assert second[0]["host_log2"].tolist() == [0, 0, 3] + [0] * 29
    assert counting.exits() == 14


def test_one_record_begins_where_the_one_before_ended(probes: Probes) -> None:
    counting = Counters(probes.maps)
    probes.create(0, 201)
    probes.exits(0, 0, 1)
    (first,) = counting.read()
    probes.exits(0, 0, 1)
    (second,) = counting.read()
    assert 0 < first["since_ns"] <= first["ns"] == second["since_ns"] <= second["ns"]


def test_a_thread_that_was_met_in_between_begins_there(probes: Probes) -> None:
    counting = Counters(probes.maps)
    probes.create(0, 201, since_ns=(1 << 62) + 1)
    probes.exits(0, 0, 1)
    assert counting.read()["since_ns"].tolist() == [(1 << 62) + 1]


def test_the_entry_after_an_exit_that_was_read_before(probes: Probes) -> None:
    """A vCPU that halts for seconds: counted at its exit, its time only known at the entry."""
    counting = Counters(probes.maps)
    probes.create(0, 201)
    probes.exits(0, 0, 1)
    counting.read()
    probes.cells["host_ns"][0, 0] += 5_000_000_000
    probes.cells["host_log2"][0, 0, 31] += 1
    (record,) = counting.read()
    assert row(record, "count", "host_ns") == [0, 5_000_000_000]
    assert record["host_log2"][31] == 1


def test_threads_and_slots_are_kept_apart(probes: Probes) -> None:
    counting = Counters(probes.maps)
    for slot, tid in ((1, 301), (SLOTS, 302), (77, 303)):
        probes.create(slot, tid)
        probes.exits(slot, CELLS - 1, tid)
    assert {(int(each["tid"]), int(each["count"])) for each in counting.read()} == {
        (301, 301),
        (302, 302),
        (303, 303),
    }


def test_a_thread_that_has_ended_is_read_for_the_last_time_and_makes_room(probes: Probes) -> None:
    counting = Counters(probes.maps)
    probes.create(9, 201)
    probes.exits(9, 0, 4)
    assert row(counting.read()[0], "tid", "count") == [201, 4]
    assert probes.freed == []
    probes.exits(9, 0, 2)
    probes.vcpus["ended_ns"][9] = 5
    (last,) = counting.read()
    assert row(last, "tid", "count") == [201, 2]
    assert probes.freed == [9]
    # Another thread begins at nothing.
    probes.create(9, 401)
    probes.exits(9, 0, 1)
    (other,) = counting.read()
    assert row(other, "tid", "count") == [401, 1]
    assert probes.freed == [9]


def test_an_entry_that_cannot_be_freed_is_no_failure(probes: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, value: bytes) -> None:
        raise OSError(7, "Argument list too long")

    monkeypatch.setattr(syscalls, "map_push", full)
    counting = Counters(probes.maps)
    probes.create(9, 201)
    probes.vcpus["ended_ns"][9] = 5
    assert len(counting.read()) == 0
    assert not probes.followed.any()


def test_what_waits_for_its_other_end_is_put_to_rest(probes: Probes) -> None:
    counting = Counters(probes.maps)
    for slot in (1, 2, 3):
        probes.create(slot, 200 + slot)
        probes.exits(slot, 0, 1)
        probes.vcpus["entry_ns"][slot] = probes.vcpus["last_ns"][slot] = 55
        probes.vcpus["cell"][slot] = slot * CELLS
    probes.vcpus["pending"]["ns"][[1, 3]] = 55
    assert counting.drop_pending() == 2
    for name in ("entry_ns", "last_ns"):
        assert not probes.vcpus[name].any()
    assert not probes.vcpus["pending"]["ns"].any()
    assert (probes.vcpus["cell"][[1, 2, 3]] == 0xFFFFFFFF).all()
    assert counting.drop_pending() == 0
    # What was counted is still to be read.
    assert counting.read()["count"].tolist() == [1, 1, 1]
    assert probes.vcpus["tid"][[1, 2, 3]].tolist() == [201, 202, 203]


def test_maps_that_are_too_small_are_an_error() -> None:
    """Probes and recorder of different versions: not a crash on the first access."""
    small = os.memfd_create("map")
    os.ftruncate(small, 4096)
    with pytest.raises(ValueError, match="greater than file size"):
        Counters({"vcpus": small, "followed": small, "free_slots": small})


def test_cells_are_powers_of_two() -> None:
    for name in ("CELLS", "LOG2S"):
        assert LIMITS[name] & (LIMITS[name] - 1) == 0
    assert counters.CELL["host_log2"].shape == schema.current().records["counts"].dtype["host_log2"].shape
