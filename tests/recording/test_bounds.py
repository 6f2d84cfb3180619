"""Files that claim much: what a reader does with them is bounded, and what it leaves out is named."""

import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest

from sldtrace.recording import format, reader, schema
from sldtrace.recording.format import ChunkHeader, ChunkType
from sldtrace.recording.merging import merge, merged
from sldtrace.recording.reader import open_recording
from sldtrace.recording.scan import Source

from . import samples


def header(type_: int, sequence: int, size: int, stored: int, crc: int, flags: int = 0) -> bytes:
    fields = (1, sequence, type_, 0, schema.SCHEMA_VERSION, flags, 1, size, stored, 0, 0, crc)
    return ChunkHeader(*fields).pack()


def text_chunk(text: bytes, type_: int, sequence: int) -> bytes:
    packed = zlib.compress(text, 9)
    return header(type_, sequence, len(text), len(packed), zlib.crc32(packed), format.COMPRESSED) + packed


OPENING = format.pack_file_header() + text_chunk(
    format.pack_json({"facts": {"a": 1}, "schema": schema.current().to_json()}), ChunkType.OPENING, 0
)


def read_bytes(data: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """How many bytes are read to open a file with these, and the warnings."""
    path.write_bytes(data)
    done = 0
    real = Source.read_into

    def counted(self: Source, offset: int, target: memoryview) -> int:
        nonlocal done
        count = real(self, offset, target)
        done += count
        return count

    with monkeypatch.context() as patch:
        patch.setattr(Source, "read_into", counted)
        with open_recording(path) as recording:
            return done, recording.warnings


@pytest.mark.parametrize("stored", [1 << 20, 16 << 20])
def test_headers_that_claim_much_are_read_in_linear_time(
    stored: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is valid, claims all that follows, and has the wrong checksum for it."""
    count = 30_000
    data = OPENING + b"".join(header(2, number, stored, stored, 1) for number in range(count))
    done, warnings = read_bytes(data, tmp_path / "a.sld", monkeypatch)
    assert done < 8 * len(data) + (64 << 20)
    assert any("are damaged" in warning for warning in warnings)
    assert sum(map(len, warnings)) < 100_000


def test_many_places_of_damage_are_a_bounded_list(tmp_path: Path) -> None:
    data = OPENING + b"".join(b"x" + text_chunk(b"[]", 77, number) for number in range(1, 3000))
    (tmp_path / "a.sld").write_bytes(data)
    with open_recording(tmp_path / "a.sld") as recording:
        warnings = recording.warnings
    assert len(warnings) < 250
    assert any("2899 more places are damaged" in each for each in warnings)
    assert any("2899 more chunks are skipped" in each for each in warnings)


def tiny(count: int, form: str) -> bytes:
    """A recording of that many chunks without content, or of the least content."""
    data = bytearray(OPENING)
    for number in range(1, count + 1):
        sequence = count + 1 - number if form == "backwards" else number
        type_ = {"unknown": 77, "opening": ChunkType.OPENING, "update": ChunkType.UPDATE}.get(form, 2)
        data += header(type_, 1 if form == "repeated" else sequence, 8, 8, zlib.crc32(bytes(8))) + bytes(8)
        data += b"x" if form == "damaged between" else b""
        data[-1] ^= form == "damaged"
    return bytes(data)


FORMS = ("records", "unknown", "opening", "update", "backwards", "repeated", "damaged", "damaged between")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_tiny_chunks_takes_little_memory(form: str, tmp_path: Path) -> None:
    """76 bytes each in the file: 1.4 million in 100 MB, which must stay far below 300 MiB."""
    count = 3000
    (tmp_path / "a.sld").write_bytes(tiny(count, form))
    tracemalloc.start()
    try:
        with open_recording(tmp_path / "a.sld") as recording:
            assert len(recording.warnings) < 250
        least = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Of it 0.8 MB do not depend on the number of chunks; as objects they would take 1.5 MB.
    assert least < 800_000 + 100 * count


def test_numbers_that_json_has_not_are_null(tmp_path: Path) -> None:
    """Python's parser takes them, and would write them again."""
    text = b'{"facts": {"a": NaN, "b": -Infinity, "c": [1e999, -1e999, 1e308, 0.5]}}'
    (tmp_path / "a.sld").write_bytes(OPENING + text_chunk(text, ChunkType.UPDATE, 1))
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.updates == [{"a": None, "b": None, "c": [None, None, 1e308, 0.5]}]


@pytest.mark.parametrize("value", [b"[],", b"{},", b"0.5,", b'"x",', b'{"a":1},'])
@pytest.mark.parametrize("type_", [ChunkType.UPDATE, ChunkType.END, ChunkType.OPENING])
def test_small_files_with_many_values_take_little_memory(
    type_: int, value: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value takes three bytes before compression, a hundredth of one after it, and 64 in memory.

    With an eighth of the bound, because tracing each allocation takes long.
    """
    most = format.MAX_VALUES // 8
    for module in (format, reader):
        monkeypatch.setattr(module, "MAX_VALUES", most)
    count = 130_000 // 8 if b"{" in value else 250_000 // 8
    text = b'{"facts":{"x":[' + value * count + b"0]}}"
    data = OPENING + b"".join(text_chunk(text, type_, number) for number in range(1, 12))
    (tmp_path / "a.sld").write_bytes(data)
    assert len(data) < 300_000 // 8
    tracemalloc.start()
    try:
        with open_recording(tmp_path / "a.sld") as recording:
            assert recording.facts == {"a": 1}
            if type_ == ChunkType.UPDATE:
                assert any("values; skipped" in each for each in recording.warnings)
        assert tracemalloc.get_traced_memory()[1] < (120 << 20) // 8
    finally:
        tracemalloc.stop()


def test_updates_of_20_000_processes_are_merged_in_linear_time() -> None:
    updates: list[dict[str, Any]] = [{"processes": {str(number): {"comm": "x"}}} for number in range(20_000)]
    updates += [
        {"kernel": 1},
        {"processes": {"7": {"comm": "y"}}},
        {"kernel": {"a": 1}},
        {"kernel": {"b": 2}},
    ]
    opening = {"processes": {"0": {"comm": "first"}}, "host": {"name": "h"}}
    before = json.dumps(opening)
    found = merged(opening, updates)
    assert json.dumps(opening) == before
    assert len(found["processes"]) == 20_000
    assert list(found["processes"])[-1] == "7"
    assert found["kernel"] == {"a": 1, "b": 2}
    some = [*updates[:50], *updates[-4:]]
    expected = dict(opening)
    for update in some:
        expected = merge(expected, update)
    assert json.dumps(merged(opening, some)) == json.dumps(expected)


def test_the_facts_of_a_recorder_are_far_below_the_bound(tmp_path: Path) -> None:
    sample = samples.make(tmp_path / "a.sld")
    assert format.count_values(json.dumps(samples.FACTS).encode()) < format.MAX_VALUES // 1000
    assert sample.data
