"""Lines out of a log of any size: every line is counted, every line that may mean something is given."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.kernlog import stream
from sldtrace.kernlog.stream import CONTEXT, DOCUMENT_LIMIT, LINE_LIMIT, Line, Tally, candidates

NAMES = [b"split_lock", b"bus_lock", b"split lock detection", b"Split lock detected", b"Linux version 6.1 "]
pieces = st.sampled_from(
    [*NAMES, b"\n", b"\n\n", b"\r\n", b"x", b"\0", b"\xff", b"split_", b"lock", b"a" * 50]
)


class Dribble:
    """Gives at most `step` bytes a read, as a pipe may."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = io.BytesIO(data), step

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, self._step))


def pairs(lines: Iterator[Line]) -> list[tuple[int, bytes]]:
    return [(line.number, line.text) for line in lines]


def lines_of(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces, max_size=60).map(b"".join), st.integers(1, 40))
def test_every_line_is_counted_and_every_candidate_given(data: bytes, step: int) -> None:
    tally = Tally()
    found = pairs(candidates(Dribble(data, step), tally))
    lines = lines_of(data)
    assert (tally.lines, tally.cut, tally.bytes) == (len(lines), 0, len(data))
    expected = [(at, line) for at, line in enumerate(lines, 1) if any(name in line for name in NAMES)]
    assert found == expected


@pytest.mark.parametrize("step", [1 << 20, 4096, 65_537])
@pytest.mark.parametrize("length", [LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT + 1, 3 * LINE_LIMIT, 3 << 20])
def test_a_long_line_is_one_line_and_cut(length: int, step: int) -> None:
    long = b"split_lock".ljust(length, b"x")
    tally = Tally()
    found = pairs(candidates(Dribble(b"first\n" + long + b"\nbus_lock\nlast", step), tally))
    assert (tally.lines, tally.cut) == (4, int(length > LINE_LIMIT))
    assert found == [(2, long[:LINE_LIMIT]), (3, b"bus_lock")]


@pytest.mark.parametrize(("blanks", "cut"), [(63, False), (64, True)])
def test_a_long_line_is_a_document_if_it_begins_as_one(blanks: int, cut: bool) -> None:
    line = b" " * blanks + b"{split_lock".ljust(LINE_LIMIT + 9)
    (found,) = candidates(io.BytesIO(line + b"\n"), Tally())
    assert found.cut is cut


@pytest.mark.parametrize("line", [b"\x1b[1msplit\x1b[0m lock", b'{"MESSAGE":[1]}'])
@pytest.mark.parametrize("before", [b"", b"x\n"])
def test_colours_and_arrays_of_bytes_count_wherever_they_begin(line: bytes, before: bytes) -> None:
    assert [found.text for found in candidates(io.BytesIO(before + line), Tally())] == [line]
    assert list(candidates(io.BytesIO(line.replace(b"\x1b", b"").replace(b"{", b"")), Tally())) == []


@pytest.mark.parametrize(("first", "limit"), [(b"y", LINE_LIMIT), (b"{", DOCUMENT_LIMIT)])
def test_an_endless_line_is_not_kept(monkeypatch: pytest.MonkeyPatch, first: bytes, limit: int) -> None:
    held: list[int] = []
    real = stream._in_block

    def in_block(block: bytes, *others: Any) -> Any:
        held.append(len(block))
        return real(block, *others)

    monkeypatch.setattr(stream, "_in_block", in_block)
    tally = Tally()
    log = Dribble(first + b"y" * (12 << 20), 1 << 20)
    assert list(candidates(log, tally)) == []
    assert tally.lines == 1
    assert max(held) <= limit + 2 * CONTEXT


@settings(max_examples=100, deadline=None)
@given(st.lists(pieces, min_size=1, max_size=60).map(b"".join), st.integers(1, 40))
def test_the_lines_around_a_line(data: bytes, step: int) -> None:
    lines = lines_of(data)
    for line in candidates(Dribble(data, step), Tally()):
        at = line.number - 1
        assert [text for _, text in line.before()] == lines[:at][::-1]
        assert [number for number, _ in line.before()] == list(range(at, 0, -1))
        if step == 1 or at + 1 < len(lines):
            after = [text for _, text in line.after()]
            assert after == lines[at + 1 :][: len(after)]


def test_a_kernels_log_is_known_as_such() -> None:
    for text in (b"[    1.5] x", b"Mar 26 11:13:52 h kernel: x", b"4,1,99,-;x", b'{"_TRANSPORT":"kernel"}',
                 b"[Wed Aug 25 21:18:32 2021] x", b"[Feb13 14:43] x", b"[  +0.118315] x"):  # fmt: skip
        tally = Tally()
        list(candidates(io.BytesIO(b"first\n" + text), tally))
        assert tally.kernel, text
    for text in (b"", b"hello\n", b"2026-01-01 10:00:00 [info] ready\n", b'{"message": "x"}\n'):
        tally = Tally()
        list(candidates(io.BytesIO(text), tally))
        assert not tally.kernel, text


def test_numbers_go_on_from_log_to_log() -> None:
    tally = Tally()
    list(candidates(io.BytesIO(b"a\nb\n"), tally))
    assert pairs(candidates(io.BytesIO(b"c\nbus_lock"), tally)) == [(4, b"bus_lock")]
    assert tally.lines == 4


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_a_long_line_may_end_where_a_read_does(chunks: int) -> None:
    step = 200_000
    long = b"split_lock".ljust(chunks * step, b"x")
    found = pairs(candidates(Dribble(long + b"\nbus_lock\n" + b"y" * step, step), Tally()))
    assert found == [(1, long[:LINE_LIMIT]), (2, b"bus_lock")]
