"""The ring reader against a ring buffer laid out in a memory file as the kernel lays it out."""

import struct

import numpy as np
import pytest

from sldtrace.capture.bpf.ring import Ring
from tests.capture.memory import BUSY, DISCARD, RingFile

DTYPE = np.dtype([("a", "<u8"), ("b", "<u8"), ("c", "<u8")])  # 24 bytes: 32 with the header
SIZE = 4096


class FakeRing(RingFile):
    """Records of three numbers in a row."""

    def __init__(self, position: int = 0) -> None:
        super().__init__(SIZE, DTYPE.itemsize, position)

    def put(self, number: int, flags: int = 0, length: int | None = None) -> int:
        return self.reserve(struct.pack("<QQQ", number, number + 1, number + 2), flags, length)


def open_ring(fake: FakeRing) -> Ring:
    return Ring(fake.fd, SIZE, DTYPE)


def test_empty_ring_gives_no_records() -> None:
    records = open_ring(FakeRing()).read()
    assert records.dtype == DTYPE
    assert len(records) == 0


def test_records_come_in_order_and_free_the_ring() -> None:
    fake = FakeRing()
    ring = open_ring(fake)
    for n in range(5):
        fake.put(n)
    records = ring.read()
    assert records["a"].tolist() == [0, 1, 2, 3, 4]
    assert records["c"].tolist() == [2, 3, 4, 5, 6]
    assert fake.consumed() == fake.producer == 5 * 32
    assert len(ring.read()) == 0


def test_a_wrapped_ring_reads_straight_on() -> None:
    fake = FakeRing(position=SIZE * 7 + SIZE - 64)
    ring = open_ring(fake)
    for n in range(6):
        fake.put(n)
    assert ring.read()["a"].tolist() == list(range(6))


def test_stops_at_a_record_that_is_still_being_written() -> None:
    fake = FakeRing()
    ring = open_ring(fake)
    fake.put(1)
    at = fake.put(2, BUSY)
    fake.put(3)
    assert ring.read()["a"].tolist() == [1]
    assert fake.consumed() == 32
    assert len(ring.read()) == 0
    fake.submit(at)
    assert ring.read()["a"].tolist() == [2, 3]


def test_discarded_records_are_passed_over() -> None:
    fake = FakeRing()
    ring = open_ring(fake)
    fake.put(1)
    fake.put(2, DISCARD)
    fake.put(3)
    assert ring.read()["a"].tolist() == [1, 3]
    assert fake.consumed() == fake.producer


def test_the_copy_outlives_the_ring() -> None:
    fake = FakeRing()
    ring = open_ring(fake)
    fake.put(1)
    first = ring.read()
    for n in range(SIZE // 32):
        fake.put(100 + n)
    assert first["a"].tolist() == [1]


def test_a_record_of_another_size_is_an_error() -> None:
    fake = FakeRing()
    ring = open_ring(fake)
    fake.put(1, length=16)
    with pytest.raises(ValueError, match="24 bytes"):
        ring.read()
