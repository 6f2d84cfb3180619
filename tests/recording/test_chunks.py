"""Chunks as columns, and the sequence numbers that were seen."""

import random
from dataclasses import replace

import pytest

from sldtrace.recording.chunks import Chunk, ChunkList, SequenceNumbers
from sldtrace.recording.format import ChunkHeader

FIRST = ChunkHeader(
    *(1 << 63, (1 << 32) - 1, 65535, 65534, 65533, 65532, (1 << 32) - 2, (1 << 32) - 3, 7),
    *((1 << 64) - 1, (1 << 64) - 2, (1 << 32) - 4),
)


def of(count: int) -> list[Chunk]:
    return [
        Chunk(replace(FIRST, sequence=number, kind=number % 3, count=number), 100 * number)
        for number in range(count)
    ]


def test_chunks_come_out_as_they_were_added() -> None:
    wanted = of(10_000)
    collected = ChunkList()
    for each in wanted:
        collected.append(each)
    found = collected.chunks()
    assert list(found) == wanted
    assert (found[0], found[-1], len(found)) == (wanted[0], wanted[-1], len(wanted))
    assert found.recording == 1 << 63
    assert found.column("count").tolist() == list(range(10_000))


def test_the_recording_is_that_of_the_first_chunk() -> None:
    collected = ChunkList()
    for number, each in enumerate(of(3)):
        collected.append(Chunk(replace(each.header, recording=7 + number), each.offset))
        assert (collected.recording, len(collected)) == (7, number + 1)


def test_a_chunk_is_its_header_and_its_payload() -> None:
    found = Chunk(replace(FIRST, stored=100), 1000)
    assert (found.payload, found.end) == (1064, 1164)


def test_a_selection_of_a_selection_has_its_own_chunks_only() -> None:
    collected = ChunkList()
    for each in of(100):
        collected.append(each)
    some = collected.chunks().where(collected.chunks().having("kind", [1, 2]))
    fewer = some.where(some.column("count") >= 50)
    assert [each.header.sequence for each in fewer] == [each for each in range(50, 100) if each % 3]
    for number, each in enumerate(fewer):
        assert fewer.number_at(each.offset) == number


def test_without_chunks_nothing_is_there() -> None:
    found = ChunkList().chunks()
    assert list(found) == []
    assert (len(found), found.recording) == (0, 0)
    assert not found.column("kind").any()


@pytest.mark.parametrize("seed", range(20))
def test_numbers_in_any_order_are_seen_once(seed: int) -> None:
    rng = random.Random(seed)
    seen: set[int] = set()
    found = SequenceNumbers()
    for _ in range(300):
        number = rng.choice([found.next, found.next, rng.randrange(200), found.next + rng.randrange(5)])
        assert found.has(number) == (number in seen)
        if number not in seen:
            seen.add(number)
            found.add(number)
        assert found.next == max(seen) + 1
