"""Counters of bus locks in shared memory: the layout is that of the C side, each bus lock is read once."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sldtrace import resources
from sldtrace.capture.bpf import syscalls
from sldtrace.capture.bpf.bus_locks import COUNTER, COUNTERS, BusLocks
from tests.capture.memory import table

FREE = -7
SHOWN = ("tgid", "tid", "rip", "count", "handler_ns")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_layout_is_that_of_the_probes(tmp_path: Path) -> None:
    text = (resources.bpf() / "bus_lock.bpf.c").read_text()
    (found,) = re.findall(r"^struct sld_bus_lock_counter {\n.*?^};", text, re.M | re.S)
    members = re.findall(r"(\w+);", re.sub(r"/\*.*?\*/", "", found))
    assert COUNTER.names is not None
    assert list(COUNTER.names) == members
    lines = ["#include <stddef.h>", "#include <stdio.h>", "#include <linux/types.h>"]
    lines += ["typedef __u32 u32; typedef __u64 u64;", found, "int main(void) {"]
    lines += [f'printf("%zu\\n", offsetof(struct sld_bus_lock_counter, {member}));' for member in members]
    lines += ['printf("%zu\\n", sizeof(struct sld_bus_lock_counter)); return 0; }']
    (tmp_path / "layout.c").write_text("\n".join(lines))
    subprocess.run(["gcc", "-Werror", "layout.c", "-o", "layout"], cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    assert COUNTER.fields is not None
    assert list(map(int, printed.split())) == [
        *(COUNTER.fields[member][1] for member in members),
        COUNTER.itemsize,
    ]


class Probes:
    """The probes' side of the maps, and the counters that are made free."""

    def __init__(self) -> None:
        descriptor, self.counters = table(COUNTER, COUNTERS)
        self.maps = {"bus_locks": descriptor, "free_bus_locks": FREE}
        self.freed: list[int] = []

    def lock(self, index: int, count: int, tid: int = 11, rip: int = 0x1000, handler_ns: int = 0) -> None:
        """Adds to the counter: bus locks, and their time."""
        for name, value in (("since_ns", 1), ("tgid", 10), ("tid", tid), ("rip", rip)):
            self.counters[name][index] = value
        self.counters["count"][index] += count
        self.counters["handler_ns"][index] += handler_ns


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    made = Probes()

    def push(descriptor: int, value: bytes) -> None:
        assert descriptor == FREE
        index = int.from_bytes(value, "little")
        # Nothing of the thread is left.
        assert not made.counters[index].tobytes().strip(b"\0")
        made.freed.append(index)

    monkeypatch.setattr(syscalls, "map_push", push)
    return made


def shown(records: np.ndarray) -> list[list[int]]:
    return [[int(each[name]) for name in SHOWN] for each in records]


def test_all_counters_are_free_at_first_and_none_has_the_number_0(probes: Probes) -> None:
    BusLocks(probes.maps)
    assert sorted(probes.freed) == list(range(1, COUNTERS))


def test_each_reading_has_what_was_added(probes: Probes) -> None:
    counting = BusLocks(probes.maps)
    assert len(counting.read()) == 0
    probes.lock(1, 5, handler_ns=70)
    probes.lock(9, 1, tid=12, rip=0x2000)
    assert shown(counting.read()) == [[10, 11, 0x1000, 5, 70], [10, 12, 0x2000, 1, 0]]
    assert len(counting.read()) == 0
    probes.lock(1, 2, handler_ns=3)
    assert shown(counting.read()) == [[10, 11, 0x1000, 2, 3]]


def test_a_bus_lock_whose_handler_returned_after_it_was_read(probes: Probes) -> None:
    counting = BusLocks(probes.maps)
    probes.lock(1, 1)
    counting.read()
    probes.lock(1, 0, handler_ns=20_000_000)
    assert shown(counting.read()) == [[10, 11, 0x1000, 0, 20_000_000]]


def test_one_record_begins_where_the_one_before_ended(probes: Probes) -> None:
    counting = BusLocks(probes.maps)
    probes.lock(1, 1)
    (first,) = counting.read()
    probes.lock(1, 1)
    (second,) = counting.read()
    assert 0 < first["since_ns"] <= first["ns"] == second["since_ns"] <= second["ns"]


def test_a_thread_that_has_ended_is_read_for_the_last_time_and_makes_room(probes: Probes) -> None:
    counting = BusLocks(probes.maps)
    probes.freed.clear()
    probes.lock(7, 3)
    probes.counters["ended_ns"][7] = 5
    assert shown(counting.read()) == [[10, 11, 0x1000, 3, 0]]
    assert probes.freed == [7]
    # Another thread begins at nothing.
    probes.lock(7, 1, tid=99)
    assert shown(counting.read()) == [[10, 99, 0x1000, 1, 0]]
