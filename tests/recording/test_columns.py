"""Records as columns: what is split is joined again, and what is no such thing is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.recording import schema
from sldtrace.recording.columns import WORD, Workspace, head_size, join, numbers, split
from sldtrace.recording.layout import Records

from . import samples

RECORDS = list(schema.current().records.values())
ONE = Workspace()  # used for all of them: what one chunk leaves in it must not show in the next one

# What a word of consecutive records looks like.
PATTERNS = ("constant", "few", "low", "steps", "falling", "near time", "random", "zero and random")


def patterned(dtype: np.dtype[np.void], count: int, patterns: list[str], seed: int) -> Records:
    """Records whose words follow these patterns, again from the first where there are more words."""
    rng = np.random.default_rng(seed)
    words = np.zeros((count, dtype.itemsize // WORD), np.uint64)

    def any_word(size: int | None = None) -> Any:
        return rng.integers(0, 1 << 64, size, np.uint64, endpoint=False)

    for word in range(words.shape[1]):
        pattern = patterns[word % len(patterns)]
        random, low = any_word(count), rng.integers(0, 5_000, count, np.uint64)
        made = {
            "constant": np.full(count, any_word(), np.uint64),
            "few": random[rng.integers(0, min(3, count), count)],
            "low": low,
            "steps": random[0] + np.cumsum(low),
            "falling": random[0] - np.cumsum(low),
            "near time": words[:, 0] + low - np.uint64(2_500),
            "random": random,
            "zero and random": np.where(low < 2_500, 0, random),
        }
        words[:, word] = made[pattern]
    return words.view(dtype).reshape(count)


@settings(deadline=None, max_examples=300)
@given(
    record=st.sampled_from(RECORDS),
    count=st.integers(1, 70),
    patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=24),
    start_ns=st.integers(0, (1 << 64) - 1),
    seed=st.integers(0, 1 << 30),
)
def test_any_records_come_back(
    record: Any, count: int, patterns: list[str], start_ns: int, seed: int
) -> None:
    records = patterned(record.dtype, count, patterns, seed)
    before = records.tobytes()
    data = split(records, numbers(record), start_ns, ONE)
    assert records.tobytes() == before
    assert len(data) <= head_size(record.size) + records.nbytes
    found = samples.noise(record.name, count, seed).copy()
    assert join(data, start_ns, found, ONE)
    assert found.tobytes() == before


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.sampled_from(RECORDS), st.integers(0, 20))
def test_any_bytes_are_joined_or_refused(data: bytes, record: Any, count: int) -> None:
    head = head_size(record.size)
    for head_bytes in (b"", bytes(head)):
        whole = head_bytes + data
        joined = join(whole, 0, np.zeros(count, record.dtype), ONE)
        assert isinstance(joined, bool)
        if joined:
            stored = whole[head - record.size // WORD : head]
            assert len(whole) == head + count * sum(each.bit_count() for each in stored)


def test_bytes_that_are_the_same_in_all_records_are_stored_once() -> None:
    trap = schema.current().records["trap"]
    traps = samples.plain("trap", 200, 10**15)  # 1 ms apart: the time is predicted exactly
    traps["rip"], traps["vcpu"], traps["signal_code"] = 0xFFFF_FFFF_8100_0C0F, -1, -2
    assert len(split(traps, numbers(trap), 10**15, ONE)) == head_size(trap.size)
    traps["end_ns"] = traps["start_ns"] + np.arange(200) + 10**9
    traps["tid"] = 256 + np.arange(200) % 3
    assert len(split(traps, numbers(trap), 10**15, ONE)) == head_size(trap.size) + 2 * 200


def test_columns_are_as_the_specification_has_them() -> None:
    """The example of docs/recording-format.md, computed there by hand."""
    task = schema.current().records["task"]
    tasks = np.array([(1000, 7, 8, b"a"), (1500, 7, 9, b"a"), (2600, 7, 8, b"a")], task.dtype)
    bases = [500, 7 | 8 << 32, ord("a"), 0]
    expected = b"".join(base.to_bytes(8, "little") for base in bases)
    expected += bytes([1, 0, 0, 0]) + bytes([0b11, 0b10000, 0, 0])
    residuals = [0, 0, 600]
    expected += bytes(each & 0xFF for each in residuals) + bytes(each >> 8 for each in residuals)
    expected += bytes([0, 1, 0])
    assert split(tasks, numbers(task), 1000, ONE) == expected


def test_numbers_are_the_fields_that_fill_a_word() -> None:
    records = schema.current().records
    assert numbers(records["trap"]) == [0, 1, 2, 3, 4, 5, 6]
    assert numbers(records["task"]) == [0]


@pytest.mark.parametrize(
    ("at", "value"),
    [(32, 2), (32, 3), (33, 3), (35, 255), (36, 1), (39, 128)],
    ids=["time from itself", "predictor 3", "of another word", "255", "a byte more", "in the last word"],
)
def test_heads_that_make_no_sense_are_refused(at: int, value: int) -> None:
    task = schema.current().records["task"]
    data = bytearray(head_size(task.size))
    found = np.ones(5, task.dtype)
    assert join(bytes(data), 0, found, ONE)
    assert not found.view(np.uint8).any()
    data[at] = value
    assert not join(bytes(data), 0, found, ONE)


def test_no_records_and_broken_sizes_are_refused() -> None:
    task = schema.current().records["task"]
    assert not join(bytes(head_size(task.size)), 0, np.zeros(0, task.dtype), ONE)
    odd = np.zeros(3, np.dtype([("ns", "<u8"), ("rest", "S3")]))
    assert not join(bytes(100), 0, odd, ONE)
