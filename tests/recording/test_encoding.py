"""Payloads by every codec: they come back, what does not match its header is refused, zstd is optional."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.recording import columns, encoding, schema
from sldtrace.recording.encoding import Codec, Decoder, Encoder, best_codec, decode_text, encode_text
from sldtrace.recording.format import (
    COLUMNS,
    COMPRESSED,
    ZSTD,
    Buffer,
    ChunkHeader,
    ChunkType,
    PayloadError,
)
from sldtrace.recording.layout import Record, Records
from sldtrace.recording.reader import open_recording
from sldtrace.recording.writer import Writer

from . import samples
from .test_columns import PATTERNS, patterned

zstandard = pytest.importorskip("zstandard")

ENCODERS = {codec: Encoder(codec) for codec in Codec}
DECODER = Decoder()
TRAP = schema.current().records["trap"]


def header(payload: Buffer, flags: int, record: Record = TRAP, count: int = 1, first_ns: int = 0) -> Any:
    return ChunkHeader(
        recording=1,
        sequence=0,
        type=ChunkType.RECORDS,
        kind=record.number,
        schema=schema.SCHEMA_VERSION,
        flags=flags,
        count=count,
        size=record.size,
        stored=len(payload),
        first_ns=first_ns,
        last_ns=first_ns,
        crc=zlib.crc32(payload),
    )


def decoded(payload: bytes, flags: int, count: int = 30) -> Records:
    found = samples.noise("trap", count).copy()
    DECODER.records(header(payload, flags, count=count), payload, found)
    return found


@settings(deadline=None, max_examples=150)
@given(
    codec=st.sampled_from(Codec),
    record=st.sampled_from(list(schema.current().records.values())),
    count=st.integers(1, 300),
    patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=24),
    seed=st.integers(0, 1 << 30),
)
def test_any_records_come_back(
    codec: Codec, record: Record, count: int, patterns: list[str], seed: int
) -> None:
    records = patterned(record.dtype, count, patterns, seed)
    start = int(records[record.time_field].min())
    payload, flags = ENCODERS[codec].records(record, records, start)
    assert flags in (0, COMPRESSED | COLUMNS | (ZSTD if codec is Codec.ZSTD else 0))
    assert len(payload) <= records.nbytes * 7 // 8 if flags else bytes(payload) == records.tobytes()
    found = samples.noise(record.name, count).copy()
    DECODER.records(header(payload, flags, record, count, start), bytes(payload), found)
    assert found.tobytes() == records.tobytes()


@pytest.mark.parametrize("codec", Codec)
def test_a_livelock_is_more_than_ten_times_smaller(codec: Codec) -> None:
    rng = np.random.default_rng(1)
    traps = samples.plain("trap", 2000, 10**14)
    traps["start_ns"] = 10**14 + np.cumsum(rng.integers(997_000, 1_003_000, 2000))
    traps["sleep_ns"] = rng.integers(997_000, 1_003_000, 2000)
    traps["end_ns"] = traps["start_ns"] + traps["sleep_ns"] + rng.integers(3_000, 9_000, 2000)
    traps["signal_ns"] = traps["end_ns"] - rng.integers(1_000, 9_000, 2000)
    traps["rip"], traps["tid"], traps["flags"] = 0x4018, 4001, 231
    payload, flags = ENCODERS[codec].records(TRAP, traps, int(traps["start_ns"][0]))
    assert flags
    assert len(payload) * 10 < traps.nbytes


def test_what_would_not_become_smaller_is_stored_as_it_is() -> None:
    for codec in Codec:
        noise = samples.noise("trap", 100)
        payload, flags = ENCODERS[codec].records(TRAP, noise, 0)
        assert (bytes(payload), flags) == (noise.tobytes(), 0)
        few = samples.plain("trap", 4, 0)
        assert ENCODERS[codec].records(TRAP, few, 0)[1] == 0


def test_facts_are_readable_everywhere() -> None:
    text = b'{"facts": {}}' * 100
    stored, flags = encode_text(text)
    assert flags == COMPRESSED
    assert zlib.decompress(stored) == text
    assert encode_text(b"{}") == (b"{}", 0)


SOUND = columns.split(samples.plain("trap", 30, 0), columns.numbers(TRAP), 0, columns.Workspace())


def without_size(data: bytes) -> bytes:
    frame: bytes = zstandard.ZstdCompressor(write_content_size=False).compress(data)
    return frame


def zstd(data: bytes) -> bytes:
    frame: bytes = zstandard.ZstdCompressor().compress(data)
    return frame


SIZE = 30 * TRAP.size
_ALL = COMPRESSED | ZSTD | COLUMNS


@pytest.mark.parametrize(
    ("payload", "flags", "what"),
    [
        (bytes(SIZE), ZSTD, "has unknown flags 0x2"),
        (bytes(SIZE), COLUMNS, "has unknown flags 0x4"),
        (bytes(SIZE), COMPRESSED | 8, "has unknown flags 0x9"),
        (b"y" * 9, COMPRESSED, "cannot be decompressed"),
        (zlib.compress(bytes(SIZE)) + b"x", COMPRESSED, "another size"),
        (zlib.compress(bytes(SIZE))[:-1], COMPRESSED, "another size"),
        (zlib.compress(bytes(SIZE + 1)), COMPRESSED, "another size"),
        (zlib.compress(bytes(SIZE - 1)), COMPRESSED, "another size"),
        (zlib.compress(bytes(1 << 24)), COMPRESSED | COLUMNS, "another size"),
        (zlib.compress(SOUND[:-1]), COMPRESSED | COLUMNS, "other columns than announced"),
        (zlib.compress(SOUND + b"x"), COMPRESSED | COLUMNS, "other columns than announced"),
        (b"x" * 9, COMPRESSED | ZSTD, "cannot be decompressed"),
        (zstd(SOUND)[:-1], _ALL, "cannot be decompressed"),
        (zstd(SOUND) + b"x", _ALL, "cannot be decompressed"),
        (zstd(SOUND) + zstd(b""), _ALL, "cannot be decompressed"),
        (zstd(bytes(SIZE + 1)), COMPRESSED | ZSTD, "another size"),
        (zstd(bytes(SIZE - 1)), COMPRESSED | ZSTD, "another size"),
        (zstd(bytes(1 << 24)), _ALL, "another size"),
        (without_size(SOUND), _ALL, "another size"),
        (zstd(SOUND[:-1]), _ALL, "other columns than announced"),
        (zstd(b""), _ALL, "other columns than announced"),
    ],
)
def test_what_does_not_match_its_header_is_refused(payload: bytes, flags: int, what: str) -> None:
    with pytest.raises(PayloadError, match=what):
        decoded(payload, flags)


def test_every_combination_that_makes_sense_is_read() -> None:
    traps = samples.plain("trap", 30, 0)
    for payload, flags in [
        (traps.tobytes(), 0),
        (zlib.compress(traps.tobytes()), COMPRESSED),
        (zstd(traps.tobytes()), COMPRESSED | ZSTD),
        (zlib.compress(SOUND), COMPRESSED | COLUMNS),
        (zstd(SOUND), _ALL),
    ]:
        assert decoded(payload, flags).tobytes() == traps.tobytes()
    text = zstd(b"{}")
    assert decode_text(replace(header(text, COMPRESSED | ZSTD), size=2), text) == b"{}"


def test_columns_are_no_json() -> None:
    with pytest.raises(PayloadError, match="unknown flags 0x5"):
        decode_text(header(b"", COMPRESSED | COLUMNS), b"")


@pytest.fixture
def no_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_zstandard", lambda: None)


@pytest.mark.usefixtures("no_zstandard")
def test_without_zstandard_zlib_is_written(tmp_path: Path) -> None:
    assert best_codec() is Codec.ZLIB
    with pytest.raises(ValueError, match="install python3-zstandard"):
        Encoder(Codec.ZSTD)
    traps = samples.plain("trap", 500, 5)
    with Writer(tmp_path / "a.sld", {}) as out:
        out.append("trap", traps)
    assert (tmp_path / "a.sld").stat().st_size < traps.nbytes // 4
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.warnings == []
        assert recording.records("trap").tobytes() == traps.tobytes()


def test_with_zstandard_zstd_is_written() -> None:
    assert best_codec() is Codec.ZSTD
    assert Encoder().records(TRAP, samples.plain("trap", 30, 0), 0)[1] & ZSTD


def test_a_reader_without_zstandard_says_so_in_one_line_and_reads_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.sld"
    with Writer(path, samples.FACTS, encoder=Encoder(Codec.ZSTD)) as out:
        for start in range(3):
            out.append("trap", samples.plain("trap", 100, start))
            out.append("signal", samples.plain("signal", 50, start))
            out.flush()
        out.append("task", samples.plain("task", 1, 9))
        out.close(samples.CLOSING)
    monkeypatch.setattr(encoding, "_zstandard", lambda: None)
    with open_recording(path) as recording:
        line, *missing = recording.warnings
        assert line == (
            "300 trap records, 150 signal records not read: they are compressed by zstd, which this host"
            " lacks; install python3-zstandard (or zstandard, from PyPI)"
        )
        assert missing == ["300 of 300 trap records missing", "150 of 150 signal records missing"]
        assert (recording.facts, recording.closing) == (samples.FACTS, samples.CLOSING)
        assert recording.counts["task"] == len(recording.records("task")) == 1
        assert len(recording.records("trap")) == recording.counts["trap"] == 0
        assert list(recording.chunks("trap")) == []
    with pytest.raises(PayloadError, match="is compressed by zstd: install"):
        decoded(zstd(SOUND), _ALL)


def test_zstandard_is_imported_only_by_what_uses_it() -> None:
    code = (
        "import sys, sldtrace.recording.reader, sldtrace.recording.writer;"
        "sys.exit('zstandard' in sys.modules)"
    )
    assert samples.python(code).returncode == 0


def test_a_broken_zstandard_is_none() -> None:
    code = (
        "import sys; sys.modules['zstandard'] = None\n"
        "from sldtrace.recording.encoding import Codec, best_codec\n"
        "sys.exit(best_codec() is not Codec.ZLIB)"
    )
    assert samples.python(code).returncode == 0
