"""Slots of threads: the lowest is used first, and one that is given back is one number of four bytes."""

import pytest

from sldtrace.capture.bpf import slots, syscalls
from sldtrace.host import kernel


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    calls: list[tuple[int, bytes]] = []
    monkeypatch.setattr(syscalls, "map_push", lambda table, value: calls.append((table, value)))
    return calls


@pytest.mark.parametrize(("cpus", "count"), [(1, 2048), (16, 2048), (17, 2176), (128, 16384), (8192, 16384)])
def test_a_host_has_slots_by_its_cpus(cpus: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "possible_cpus", lambda: cpus)
    assert slots.count() == count


def test_the_lowest_is_on_top_of_the_stack(
    pushed: list[tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "count", lambda: 3)
    slots.fill(7)
    assert pushed == [(7, bytes([slot, 0, 0, 0])) for slot in (3, 2, 1)]


def test_a_slot_that_is_given_back(pushed: list[tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    slots.release(7, 0x1234)
    assert pushed == [(7, b"\x34\x12\0\0")]

    def full(table: int, value: bytes) -> None:
        raise OSError(7, "Argument list too long")

    monkeypatch.setattr(syscalls, "map_push", full)
    slots.release(7, 1)
