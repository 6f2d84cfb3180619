"""A recording that is cut, altered or mixed with something else: what is sound is read, the rest is named."""

import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sldtrace.errors import SldtraceError
from sldtrace.recording import scan
from sldtrace.recording.encoding import Codec, best_codec
from sldtrace.recording.format import (
    CHUNK_HEADER_SIZE,
    CHUNK_MAGIC,
    COLUMNS,
    COMPRESSED,
    FILE_HEADER_SIZE,
    ZSTD,
    ChunkType,
    unpack_chunk_header,
)
from sldtrace.recording.reader import Recording, open_recording

from . import samples

with tempfile.TemporaryDirectory() as _folder:
    SAMPLE = samples.make(Path(_folder) / "sample.sld")
    OTHER = samples.make(Path(_folder) / "other.sld", recording_id=99)
DATA = SAMPLE.data
SIZE = len(DATA)
KINDS = ("trap", "task", "detection", "lost")
ANY = settings(deadline=None, max_examples=150)


@contextmanager
def opened(data: bytes) -> Iterator[Recording]:
    with tempfile.NamedTemporaryFile(suffix=".sld") as file:
        file.write(data)
        file.flush()
        with open_recording(file.name) as recording:
            yield recording


def refused(data: bytes) -> str:
    with pytest.raises(SldtraceError) as caught, opened(data):
        pass
    assert "\n" not in str(caught.value)
    return caught.value.message


def check(data: bytes, untouched: list[samples.Extent]) -> list[str]:
    """Opens `data` and asserts that exactly the untouched chunks are read; gives the warnings."""
    if not untouched:
        return [refused(data)]
    with opened(data) as recording:
        for kind in KINDS:
            assert recording.records(kind).tobytes() == SAMPLE.surviving(kind, untouched), kind
        warnings = recording.warnings
        assert all(warning and "\n" not in warning for warning in warnings)
        facts_left = SAMPLE.extents[0] in untouched or SAMPLE.extents[-1] in untouched
        assert recording.facts == (samples.FACTS if facts_left else {})
        assert ("the host facts are lost" in warnings) == (not facts_left)
        assert recording.closed == (SAMPLE.extents[-1] in untouched)
        assert recording.closing == (samples.CLOSING if recording.closed else None)
        return warnings


def test_the_sample_is_sound_and_has_chunks_of_every_encoding() -> None:
    assert check(DATA, list(SAMPLE.extents)) == []
    headers = [unpack_chunk_header(DATA[each.start :][:CHUNK_HEADER_SIZE]) for each in SAMPLE.extents]
    found = {header.flags for header in headers if header and header.type == ChunkType.RECORDS}
    assert found >= {0, COMPRESSED | COLUMNS}
    assert (COMPRESSED | COLUMNS | ZSTD in found) == (best_codec() is Codec.ZSTD)
    raw = [each for each in SAMPLE.extents if each.records is not None and each.records.tobytes() in DATA]
    assert 0 < len(raw) < sum(each.records is not None for each in SAMPLE.extents)
    assert [each.start for each in SAMPLE.extents[1:]] == [each.end for each in SAMPLE.extents[:-1]]
    assert SAMPLE.extents[-1].end == SIZE


def places() -> list[int]:
    """Every byte of the headers, with the bytes beside them, and every fifth of the rest.

    One checksum covers all bytes between two headers, so each of them means the same for a reader.
    """
    starts = [0, *(each.start for each in SAMPLE.extents), SIZE]
    near = {at for start in starts for at in range(start - 8, start + CHUNK_HEADER_SIZE + 8)}
    return [at for at in range(SIZE) if at in near or at % 5 == 0]


def test_a_single_byte_flipped() -> None:
    for at in places():
        data = bytearray(DATA)
        data[at] ^= 1 << at % 8 if at % 3 else 0xFF
        untouched = [each for each in SAMPLE.extents if not each.start <= at < each.end]
        warnings = check(bytes(data), untouched)
        if at < FILE_HEADER_SIZE:
            assert "the file header (bytes 0 to 15) is damaged" in warnings[0]
            continue
        hit = next(each for each in SAMPLE.extents if each.start <= at < each.end)
        assert f"bytes {hit.start} to {hit.end - 1}" in warnings[0]
        if hit.kind is not None and hit.records is not None:
            whole = sum(
                len(e.records) for e in SAMPLE.extents if e.kind == hit.kind and e.records is not None
            )
            missing = f"{len(hit.records)} of {whole} {hit.kind} record"
            assert any(warning.startswith(missing) for warning in warnings)


def test_cut_anywhere() -> None:
    assert "is empty" in refused(b"")
    for end in places()[1:]:
        whole = [each for each in SAMPLE.extents if each.end <= end]
        warnings = check(DATA[:end], whole)
        if whole:
            assert "the recording has no end" in warnings[-1]
            if end > whole[-1].end:
                assert f"the file ends inside a chunk (bytes {whole[-1].end} to {end - 1}" in warnings[0]


def whole_in(data: bytes) -> list[samples.Extent]:
    """The chunks whose bytes are all there; a byte that equals its neighbour may be gone from either side."""
    return [each for each in SAMPLE.extents if DATA[each.start : each.end] in data]


@ANY
@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 255)), min_size=1, max_size=12))
def test_many_bytes_altered(changes: list[tuple[int, int]]) -> None:
    data = bytearray(DATA)
    for at, bits in changes:
        data[at] ^= bits
    touched = {at for at in range(SIZE) if data[at] != DATA[at]}
    untouched = [each for each in SAMPLE.extents if not touched & set(range(each.start, each.end))]
    if not untouched:
        refused(bytes(data))
    elif touched:
        assert check(bytes(data), untouched)


@ANY
@example(
    start=80, length=SAMPLE.extents[1].end - SAMPLE.extents[1].start
)  # the next but one is where one is expected
@given(start=st.integers(0, SIZE - 1), length=st.integers(1, SIZE))
def test_bytes_removed(start: int, length: int) -> None:
    end = min(SIZE, start + length)
    data = DATA[:start] + DATA[end:]
    assert check(data, whole_in(data))


JUNK = st.binary(min_size=1, max_size=200) | st.sampled_from(
    [CHUNK_MAGIC, CHUNK_MAGIC * 9, DATA[16:79], DATA[:16], DATA[16:90], b"\0" * 5000]
)


@ANY
@given(st.integers(0, SIZE), JUNK)
def test_bytes_inserted(at: int, junk: bytes) -> None:
    data = DATA[:at] + junk + DATA[at:]
    assert check(data, whole_in(data))


@ANY
@given(st.binary(max_size=300), st.sampled_from([b"", DATA[:16], DATA[:1], DATA[16:60], CHUNK_MAGIC]))
def test_other_files_are_refused(content: bytes, start: bytes) -> None:
    message = refused(start + content)
    assert any(
        text in message
        for text in ("is empty", "is not an sldtrace recording", "is a recording of which no chunk is left")
    )


@pytest.mark.parametrize("content", [b"\x7fELF" + b"\0" * 999, b"{}\n", b"PK\3\4" * 50, CHUNK_MAGIC * 5000])
def test_known_other_files_are_refused(content: bytes) -> None:
    assert "is not an sldtrace recording" in refused(content)


def test_sectors_of_zeros() -> None:
    hit = SAMPLE.extents[3]
    data = DATA[: hit.start + 10] + b"\0" * (hit.end - hit.start) + DATA[hit.end + 10 :]
    untouched = [each for each in SAMPLE.extents if each not in SAMPLE.extents[3:5]]
    warnings = check(data, untouched)
    assert f"bytes {hit.start} to {SAMPLE.extents[4].end - 1} are damaged; 2 chunks lost" in warnings[0]


def test_a_chunk_that_is_neatly_missing_is_counted() -> None:
    gone = SAMPLE.extents[2]
    warnings = check(DATA[: gone.start] + DATA[gone.end :], [e for e in SAMPLE.extents if e is not gone])
    assert warnings == [f"1 chunk missing before byte {gone.start}", "30 of 34 trap records missing"]


def test_two_recordings_in_one_file() -> None:
    warnings = check(DATA + OTHER.data, list(SAMPLE.extents))
    count = len(OTHER.extents)
    assert warnings == [
        f"{count} chunks of another recording from byte {SIZE} on, not read; tail -c +{SIZE + 1} gets it"
    ]
    with opened((DATA + OTHER.data)[SIZE:]) as recording:
        assert recording.warnings == []
        assert recording.recording_id == 99


def test_a_cut_recording_followed_by_another() -> None:
    whole = [each for each in SAMPLE.extents if each.end < SIZE - 50]
    warnings = check(DATA[: SIZE - 50] + OTHER.data, whole)
    assert f"from byte {SIZE - 50} on, not read" in " ".join(warnings)
    assert "has no end" in warnings[-1]


def test_the_same_recording_twice_is_read_once() -> None:
    warnings = check(DATA + DATA, list(SAMPLE.extents))
    assert warnings == [f"{len(SAMPLE.extents)} chunks repeated from byte {SIZE} on; read once"]


def test_a_second_copy_replaces_what_the_first_lost() -> None:
    broken = bytearray(DATA)
    broken[SAMPLE.extents[2].start + 70] ^= 1
    with opened(bytes(broken) + DATA) as recording:
        assert recording.records("trap").tobytes() == SAMPLE.surviving("trap", list(SAMPLE.extents))


def test_a_chunk_inside_a_payload_is_not_taken_for_one() -> None:
    # The payload of the second chunk is overwritten with whole chunks of this and another recording.
    inner = OTHER.data[SAMPLE.extents[3].start : SAMPLE.extents[3].end]
    outer = SAMPLE.extents[1]
    at = outer.start + 64
    assert at + len(inner) <= outer.end
    data = DATA[:at] + inner + DATA[at + len(inner) :]
    check(data, [each for each in SAMPLE.extents if each is not outer])


def test_unreadable_sectors_cost_only_their_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    hit = SAMPLE.extents[2]
    sector = 4
    bad = (hit.start + 64 + sector) // sector * sector
    assert bad + sector < hit.end
    real = os.preadv

    def failing(file: int, buffers: list[memoryview], offset: int) -> int:
        # As the kernel does it: a short read up to the bad sector, then an error at it.
        if bad <= offset < bad + sector:
            raise OSError(5, "Input/output error")
        length = min(len(buffers[0]), bad - offset) if offset < bad else len(buffers[0])
        return real(file, [buffers[0][:length]], offset)

    monkeypatch.setattr(scan, "_SECTOR", sector)
    monkeypatch.setattr(os, "preadv", failing)
    warnings = check(DATA, [each for each in SAMPLE.extents if each is not hit])
    assert f"bytes {hit.start} to {hit.end - 1} are damaged; 1 chunk lost: 30 trap records" in warnings[0]


def test_the_search_finds_a_chunk_across_the_blocks_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_BLOCK", 64)
    second = SAMPLE.extents[1].start
    for length in range(1, 130):
        data = DATA[:second] + b"\xf5" * length + DATA[second:]
        warnings = check(data, list(SAMPLE.extents))
        assert f"bytes {second} to {second + length - 1} do not belong to the recording" in warnings[0]


@pytest.mark.parametrize("age_s", [0, 3600])
def test_a_file_that_changes_under_the_reader_is_one_line(age_s: int, tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    path.write_bytes(DATA)
    written = path.stat().st_mtime - age_s
    os.utime(path, (written, written))
    with open_recording(path) as recording:
        with path.open("r+b") as file:
            file.seek(SAMPLE.extents[1].start + 64)
            file.write(b"changed!")
        with pytest.raises(SldtraceError, match="changed while it was read"):
            recording.records("trap")


@pytest.mark.parametrize(("age_s", "times"), [(3600, 1), (-3600, 2)])
def test_checksums_are_verified_once_where_the_file_is_known_to_be_the_same(
    age_s: int, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where the clock of the file system is ahead: a change may not show there."""
    path = tmp_path / "a.sld"
    path.write_bytes(DATA)
    written = path.stat().st_mtime - age_s
    os.utime(path, (written, written))
    verified: list[int] = []

    def crc32(data: bytes) -> int:
        verified.append(len(data))
        return zlib.crc32(data)

    monkeypatch.setattr(scan, "zlib", SimpleNamespace(crc32=crc32))
    with open_recording(path) as recording:
        scanned = len(verified)
        assert scanned >= len(SAMPLE.extents) - 1
        recording.records("trap")
        of_traps = sum(1 for _ in recording.chunks("trap"))
    assert of_traps > 0
    assert len(verified) == scanned + 2 * of_traps * (times - 1)
