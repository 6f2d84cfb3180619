"""Lines out of a log of any size: every line is counted, every line that may mean something is given."""

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.kernlog import stream
from sldtrace.kernlog.stream import LINE_LIMIT, Tally, candidates

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


def lines_of(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces, max_size=60).map(b"".join), st.integers(1, 40))
def test_every_line_is_counted_and_every_candidate_given(data: bytes, step: int) -> None:
    tally = Tally()
    found = list(candidates(Dribble(data, step), tally))
    lines = lines_of(data)
    assert tally == Tally(len(lines), 0)
    expected = [(at, line) for at, line in enumerate(lines, 1) if any(name in line for name in NAMES)]
    assert found == expected


@pytest.mark.parametrize("step", [1 << 20, 4096, 65_537])
@pytest.mark.parametrize("length", [LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT + 1, 3 * LINE_LIMIT, 3 << 20])
def test_a_long_line_is_one_line_and_cut(length: int, step: int) -> None:
    long = b"split_lock".ljust(length, b"x")
    tally = Tally()
    found = list(candidates(Dribble(b"first\n" + long + b"\nbus_lock\nlast", step), tally))
    assert tally == Tally(4, int(length > LINE_LIMIT))
    assert found == [(2, long[:LINE_LIMIT]), (3, b"bus_lock")]


def test_an_endless_line_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    real = stream._in_block

    def in_block(block: bytes, tally: Tally) -> Any:
        held.append(len(block))
        return real(block, tally)

    monkeypatch.setattr(stream, "_in_block", in_block)
    tally = Tally()
    assert list(candidates(Dribble(b"y" * (8 << 20), 1 << 20), tally)) == []
    assert tally.lines == 1
    assert max(held) <= LINE_LIMIT + 2


def test_numbers_go_on_from_log_to_log() -> None:
    tally = Tally()
    list(candidates(io.BytesIO(b"a\nb\n"), tally))
    assert list(candidates(io.BytesIO(b"c\nbus_lock"), tally)) == [(4, b"bus_lock")]
    assert tally.lines == 4
