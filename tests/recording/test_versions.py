"""Recordings of older and newer schemas, and files whose checksums are right but whose content lies."""

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sldtrace.errors import SldtraceError
from sldtrace.recording import format, schema
from sldtrace.recording.format import ChunkHeader, ChunkType
from sldtrace.recording.layout import Schema, from_json
from sldtrace.recording.reader import Recording, open_recording
from sldtrace.recording.writer import Writer

from . import samples


def changed(version: int, **fields: list[tuple[str, str]]) -> Schema:
    """The current schema with other fields (name, type) in some records; a new name makes a new record."""
    description: dict[str, Any] = schema.current().to_json()
    description["version"] = version
    records = {record["name"]: record for record in description["records"]}
    for kind, pairs in fields.items():
        offset, made = 0, []
        for name, type_ in pairs:
            unit = "ns" if name.endswith("ns") else "count"
            made.append({"name": name, "type": type_, "offset": offset, "unit": unit, "meaning": "x"})
            offset += np.dtype(
                type_.replace("u", "<u").replace("s", "<i").replace("64", "8").replace("32", "4")
            ).itemsize
        records[kind] = {"number": 60, **records.get(kind, {}), "name": kind, "fields": made}
    description["records"] = list(records.values())
    return from_json(json.loads(json.dumps(description)))


def recorded(path: Path, with_schema: Schema, **records: list[tuple[int, ...]]) -> Recording:
    with Writer(path, samples.FACTS, schema=with_schema) as out:
        for kind, rows in records.items():
            out.append(kind, np.array(rows, with_schema.records[kind].dtype))
        out.close({})
    return open_recording(path)


def test_missing_fields_hold_their_default_and_strange_ones_are_carried(tmp_path: Path) -> None:
    other = changed(2, trap=[("start_ns", "u64"), ("flavour", "u64"), ("tid", "u32"), ("exits", "u32")])
    with recorded(tmp_path / "a.sld", other, trap=[(5, 55, 7, 1), (3, 33, 8, 2)]) as recording:
        traps = recording.records("trap")
        assert traps.dtype.names is not None
        assert traps.dtype.names[:-1] == schema.current().records["trap"].dtype.names
        assert traps["start_ns"].tolist() == [3, 5]
        assert traps["flavour"].tolist() == [33, 55]
        assert traps["tid"].tolist() == [8, 7]
        assert traps["vcpu"].tolist() == [-1, -1]
        assert traps["rip"].tolist() == [0, 0]
        assert "vcpu" in recording.upgrade("trap").filled
        assert recording.upgrade("trap").carried == ("flavour",)
        assert [len(each) for _, each in recording.chunks("trap")] == [2]
        assert recording.warnings == []


def test_a_wider_type_is_taken_and_a_narrower_one_is_not(tmp_path: Path) -> None:
    other = changed(2, detection=[("ns", "u64"), ("value", "u32"), ("cpu", "u32"), ("tid", "u64")])
    with recorded(tmp_path / "a.sld", other, detection=[(1, 1 << 29, 3, 1 << 40)]) as recording:
        records = recording.records("detection")
        assert records.dtype["value"] == np.dtype("<u8")
        assert records.dtype["tid"] == np.dtype("<u8")
        assert records.tolist() == [(1, 1 << 29, 3, 1 << 40)]


def test_an_unknown_kind_is_kept_and_reported(tmp_path: Path) -> None:
    other = changed(9, exits=[("ns", "u64"), ("reason", "u64")])
    with recorded(tmp_path / "a.sld", other, exits=[(5, 2), (4, 1)]) as recording:
        assert recording.records("exits").tolist() == [(4, 1), (5, 2)]
        assert recording.warnings == ["records of kind exits mean nothing to this version"]


def test_an_unknown_version_without_its_description_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    other = changed(999, exits=[("ns", "u64"), ("reason", "u64")])
    out = Writer(path, {}, schema=other)
    start = out.size
    out.append("exits", np.zeros(1, other.records["exits"].dtype))
    out.flush()
    data = path.read_bytes()
    path.write_bytes(data[:16] + data[start:])
    with pytest.raises(
        SldtraceError, match=r"lost the description of its records .schema version 999.; read it with"
    ):
        open_recording(path)
    out.close({})


def test_a_newer_format_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "FORMAT_VERSION", 2)
    (tmp_path / "a.sld").write_bytes(format.pack_file_header() + b"whatever")
    monkeypatch.undo()
    with pytest.raises(SldtraceError, match="has format 2, this version reads up to 1; read it with a newer"):
        open_recording(tmp_path / "a.sld")


def chunk(payload: bytes, **fields: int) -> bytes:
    """A chunk with right checksums around any payload."""
    header = ChunkHeader(
        recording=1,
        sequence=0,
        type=ChunkType.OPENING,
        kind=0,
        schema=schema.SCHEMA_VERSION,
        flags=0,
        count=1,
        size=len(payload),
        stored=len(payload),
        first_ns=0,
        last_ns=0,
        crc=zlib.crc32(payload),
    )
    return replace(header, **fields).pack() + payload


OPENING = chunk(format.pack_json({"facts": {"a": 1}, "schema": schema.current().to_json()}))
TASK = schema.current().records["task"]
RECORDS = {"sequence": 1, "type": ChunkType.RECORDS, "kind": TASK.number, "size": TASK.size}
BOMB = zlib.compress(b"\0" * (1 << 20))


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (
            chunk(b"x" * 24, **RECORDS | {"kind": 77, "size": 24}),
            "holds 1 record of unknown kind 77; skipped",
        ),
        (
            chunk(b"x" * 24, **RECORDS | {"size": 24}),
            "holds task records of another layout than the file describes",
        ),
        (chunk(b"x" * TASK.size, **RECORDS | {"schema": 7}), "holds task records of another layout"),
        (chunk(b"x" * TASK.size, **RECORDS | {"type": 77}), "is of unknown type 77; skipped"),
        (chunk(b"x" * TASK.size, **RECORDS | {"flags": 2}), "has unknown flags 0x2; skipped"),
        (chunk(b"x" * TASK.size, **RECORDS | {"flags": 1}), "cannot be decompressed; skipped"),
        (chunk(BOMB, **RECORDS | {"flags": 1}), "decompresses to another size than announced; skipped"),
        (chunk(zlib.compress(b"1"), **RECORDS | {"flags": 1}), "decompresses to another size than announced"),
        (chunk(b"[" * 200_000, sequence=1, type=ChunkType.UPDATE), "holds no JSON; skipped"),
        (chunk(b"\xff{}", sequence=1, type=ChunkType.UPDATE), "holds no JSON; skipped"),
        (chunk(b"[]", sequence=1, type=ChunkType.END), "holds no JSON object; skipped"),
        (chunk(b"", **RECORDS | {"count": 1 << 31, "size": 1 << 31}), "bytes "),
        (chunk(b"", **RECORDS | {"stored": 1 << 31, "size": 0}), "bytes "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lying_chunk_is_named_and_skipped(tmp_path: Path, content: bytes, warning: str) -> None:
    sound = np.zeros(1, TASK.dtype)
    data = format.pack_file_header() + OPENING + content
    data += chunk(sound.tobytes(), **RECORDS | {"sequence": 2})
    (tmp_path / "a.sld").write_bytes(data)
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.facts == {"a": 1}
        assert recording.records("task").tobytes() == sound.tobytes()
        assert recording.counts["task"] == 1
        assert any(warning in each for each in recording.warnings)
        assert not any("\n" in each for each in recording.warnings)


@pytest.mark.parametrize(
    ("fields", "sound"),
    [
        ({"size": format.MAX_PAYLOAD, "stored": format.MAX_PAYLOAD}, True),
        ({"size": format.MAX_PAYLOAD + 1, "stored": format.MAX_PAYLOAD + 1}, False),
        ({"size": format.MAX_PAYLOAD + 1, "stored": 9, "flags": format.COMPRESSED}, False),
        ({"size": 9, "stored": format.MAX_PAYLOAD + 1, "flags": format.COMPRESSED}, False),
        ({"size": 9, "stored": 8, "flags": format.COMPRESSED}, True),
        ({"size": 9, "stored": 8}, False),
        ({"size": 4, "count": 2, "stored": 8}, True),
    ],
)
def test_headers_that_claim_too_much_are_not_sound(fields: dict[str, int], sound: bool) -> None:
    header = format.unpack_chunk_header(chunk(b"", **fields)[: format.CHUNK_HEADER_SIZE])
    assert (header is not None) == sound


@pytest.mark.parametrize("description", [None, [], {}, {"version": 1, "records": 5, "enums": []}])
def test_a_lying_description_falls_back_on_the_version(tmp_path: Path, description: Any) -> None:
    sound = np.zeros(1, TASK.dtype)
    data = chunk(format.pack_json({"facts": {"a": 1}, "schema": description})) + chunk(
        sound.tobytes(), **RECORDS
    )
    (tmp_path / "a.sld").write_bytes(format.pack_file_header() + data)
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.counts["task"] == 1
        assert any("describes no usable schema" in each for each in recording.warnings)


@pytest.mark.parametrize(
    ("kind", "field", "type_"),
    [
        *(("task", "tid", "u8[4]"), ("task", "tid", "char[4]"), ("task", "comm", "u32[4]")),
        *(("counts", "host_log2", "u32[16]"), ("trap", "vcpu", "u32"), ("detection", "value", "s64")),
    ],
)
def test_a_field_in_another_form_is_no_usable_description(
    kind: str, field: str, type_: str, tmp_path: Path
) -> None:
    """A text where a number was, an array where one number was, or another sign: the same bytes, no sense."""
    description = schema.current().to_json()
    record = next(each for each in description["records"] if each["name"] == kind)
    found = next(each for each in record["fields"] if each["name"] == field)
    found["type"] = type_
    if type_ == "u32[16]":
        record["fields"].append(found | {"name": "rest", "offset": found["offset"] + 64})
    from_json(description)
    sound = np.zeros(1, TASK.dtype)
    data = chunk(format.pack_json({"facts": {"a": 1}, "schema": description})) + chunk(
        sound.tobytes(), **RECORDS
    )
    (tmp_path / "a.sld").write_bytes(format.pack_file_header() + data)
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.schema == schema.current()
        assert recording.records("task").tobytes() == sound.tobytes()
        assert recording.damaged
        assert any(f"field {field} of {kind} has another form" in each for each in recording.warnings)


@pytest.mark.parametrize(
    "end", [{"written": 5}, {"written": {"trap": "x"}}, {"unwritten": []}, {"closing": 3}]
)
def test_lying_counts_do_no_harm(tmp_path: Path, end: dict[str, Any]) -> None:
    data = OPENING + chunk(format.pack_json(end), sequence=1, type=ChunkType.END)
    (tmp_path / "a.sld").write_bytes(format.pack_file_header() + data)
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.warnings == []
        assert recording.closing == {}


def test_chunks_out_of_order_are_all_read(tmp_path: Path) -> None:
    parts = [chunk(samples.plain("task", 1, n).tobytes(), **RECORDS | {"sequence": n}) for n in (1, 2, 3)]
    (tmp_path / "a.sld").write_bytes(format.pack_file_header() + OPENING + parts[2] + parts[0] + parts[1])
    with open_recording(tmp_path / "a.sld") as recording:
        assert recording.records("task")["ns"].tolist() == [1, 2, 3]


def test_refusals_are_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path / "none", "does not exist"),
        (tmp_path, "is a directory"),
        (tmp_path / "pipe", "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (tmp_path / "a\0b", "cannot read"),
        (Path(__file__) / "x", "Not a directory"),
        (Path(__file__), "is not an sldtrace recording"),
    ]:
        with pytest.raises(SldtraceError, match=message) as caught:
            open_recording(path)
        assert "\n" not in str(caught.value)
