"""Recordings that are damaged with knowledge of the format: every checksum is right again afterwards.

A recording is taken apart into chunks, whose records and JSON are changed, and is put together again. All
choices come from one random number generator: the same seed gives the same bytes.
"""

import copy
import json
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace.recording import schema as schemas
from sldtrace.recording.encoding import Decoder, Encoder, decode_text
from sldtrace.recording.format import (
    CHUNK_HEADER_SIZE,
    FILE_HEADER_SIZE,
    ChunkHeader,
    ChunkType,
    pack_file_header,
    unpack_chunk_header,
)
from sldtrace.recording.layout import SCALARS, Records

NUMBERS = (
    *(0, 1, 2, 3, 255, 256, 1 << 15, (1 << 16) - 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1),
    *(1 << 32, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
"""Values at which types end."""

_VALUES: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: rng.choice([None, True, False, "", "0", "x" * 5000, "\x1b[2J", "\n", "\ud800", [], {}, -1]),
    lambda rng: rng.choice(NUMBERS),
    lambda rng: rng.choice([float("nan"), float("inf"), 1e308, -0.0, 0.5, 10**400, -(1 << 63)]),
    lambda rng: {str(rng.choice(NUMBERS)): rng.choice(NUMBERS) for _ in range(rng.randrange(9))},
    lambda rng: [[rng.choice(NUMBERS)] * rng.randrange(6) for _ in range(rng.randrange(6))],
)


@dataclass
class Part:
    """One chunk: its header, and what is in it: records, a JSON object, or bytes as they are to be stored."""

    header: ChunkHeader
    content: Any

    def pack(self, rng: random.Random) -> bytes:
        """The bytes, with matching lengths and checksums."""
        header, payload, flags = self.header, self.content, 0
        if isinstance(payload, np.ndarray):
            records = payload
            count = len(records)
            header = replace(header, count=count, size=records.dtype.itemsize)
            payload = records.tobytes()
            record = schemas.current().by_number.get(header.kind)
            if rng.random() < 0.5 and count and record is not None and record.dtype == records.dtype:
                payload, flags = Encoder().records(record, records, header.first_ns)
                payload = bytes(payload)
        elif isinstance(payload, dict):
            payload = json.dumps(payload).encode("utf-8", "surrogatepass")
            header = replace(header, count=1, size=len(payload))
        else:
            flags = header.flags
        header = replace(header, flags=flags, stored=len(payload), crc=zlib.crc32(payload))
        return header.pack() + bytes(payload)


def parts(data: bytes) -> list[Part]:
    """The chunks of a sound recording of the current schema."""
    found, at, decoder = [], FILE_HEADER_SIZE, Decoder()
    while at < len(data):
        header = unpack_chunk_header(data[at : at + CHUNK_HEADER_SIZE])
        assert header is not None
        stored = data[at + CHUNK_HEADER_SIZE :][: header.stored]
        content: Any
        if header.type == ChunkType.RECORDS:
            content = np.empty(header.count, schemas.current().by_number[header.kind].dtype)
            decoder.records(header, stored, content)
        else:
            content = json.loads(bytes(decode_text(header, stored)))
        found.append(Part(header, content))
        at += CHUNK_HEADER_SIZE + header.stored
    return found


def _records(rng: random.Random, found: list[Part]) -> Part | None:
    having = [part for part in found if isinstance(part.content, np.ndarray) and len(part.content)]
    # Of each kind as often as of another, however many chunks it has.
    kinds = sorted({part.header.kind for part in having})
    kind = rng.choice(kinds) if kinds else 0
    return rng.choice([part for part in having if part.header.kind == kind]) if kinds else None


def _rows(rng: random.Random, records: Records) -> Any:
    return rng.choice([slice(None), rng.randrange(len(records)), slice(rng.randrange(len(records)), None)])


def change_a_field(rng: random.Random, found: list[Part]) -> None:
    """A field of some records has other values: those at which types end, other records', or any."""
    part = _records(rng, found)
    if part is None:
        return
    records = part.content = part.content.copy()
    name = rng.choice(list(records.dtype.names))
    rows, column = _rows(rng, records), records[name]
    if column.dtype.kind == "S":
        column[rows] = rng.randbytes(column.dtype.itemsize)
        return
    bits = 8 * column.dtype.itemsize
    match rng.randrange(4):
        case 0:
            value = np.array(rng.choice(NUMBERS) & ((1 << bits) - 1), f"<u{bits // 8}")
            column[rows] = value.view(column.dtype)
        case 1:
            column[rows] = column[rng.randrange(len(column))]
        case 2:
            count = column.size
            column[:] = np.frombuffer(rng.randbytes(count * bits // 8), column.dtype).reshape(column.shape)
        case _:
            column[:] = np.random.default_rng(rng.getrandbits(32)).permutation(column, axis=0)


def change_the_rows(rng: random.Random, found: list[Part]) -> None:
    """Records are repeated, left out, or in another order."""
    part = _records(rng, found)
    if part is not None:
        rows = [rng.randrange(len(part.content)) for _ in range(rng.choice([0, 1, 2, len(part.content)]))]
        part.content = part.content[rows]


def change_a_header(rng: random.Random, found: list[Part]) -> None:
    """A header says something else, such as another time, kind, schema or sequence number."""
    part = rng.choice(found)
    name, bits = rng.choice(
        [("type", 16), ("kind", 16), ("schema", 16), ("sequence", 32), ("first_ns", 64), ("last_ns", 64)]
    )
    value = rng.choice([*NUMBERS, rng.randrange(12), getattr(rng.choice(found).header, name)])
    part.header = replace(part.header, **{name: value & ((1 << bits) - 1)})


def change_the_chunks(rng: random.Random, found: list[Part]) -> None:
    """Chunks are missing, repeated (with their own or with a new number), or in another order."""
    at = rng.randrange(len(found))
    match rng.randrange(4):
        case 0 if len(found) > 1:
            del found[at]
        case 1:
            found.insert(rng.randrange(len(found) + 1), copy.copy(found[at]))
        case 2:
            sequence = max(part.header.sequence for part in found) + 1
            header = replace(found[at].header, sequence=min(sequence, (1 << 32) - 1))
            found.insert(rng.randrange(len(found) + 1), Part(header, found[at].content))
        case _:
            other = rng.randrange(len(found))
            found[at], found[other] = found[other], found[at]


def change_the_payload(rng: random.Random, found: list[Part]) -> None:
    """The payload is other bytes than the header announces, compressed or not."""
    part = rng.choice(found)
    packed = part.pack(rng)
    header = unpack_chunk_header(packed[:CHUNK_HEADER_SIZE])
    payload = bytearray(packed[CHUNK_HEADER_SIZE:])
    if header is None or not payload:
        return
    for _ in range(rng.randrange(1, 4)):
        payload[rng.randrange(len(payload))] = rng.randrange(256)
    part.header = replace(header, flags=header.flags if rng.random() < 0.8 else rng.randrange(16))
    part.content = bytes(payload)


def change_the_json(rng: random.Random, found: list[Part]) -> None:
    """A value somewhere in facts, closing facts or schema is another one, missing, or new."""
    having = [part for part in found if isinstance(part.content, dict)]
    if not having:
        return
    part = rng.choice(having)
    tree = part.content = copy.deepcopy(part.content)
    _change_below(rng, tree.get(rng.choice(list(tree) or [""]), tree))


def nest_deeply(rng: random.Random, found: list[Part]) -> None:
    """A fact is nested deeper than a program can recurse."""
    having = [part for part in found if isinstance(part.content, dict)]
    if having:
        part, depth = rng.choice(having), rng.choice([300, 990, 5000, 200_000])
        text = json.dumps(part.content)[1:-1]
        nested = rng.choice([b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth])
        part.content = b'{"facts":{"x":' + nested + b"}," + text.encode("utf-8", "surrogatepass") + b"}"
        part.header = replace(part.header, flags=0, count=1, size=len(part.content))


def add_facts(rng: random.Random, found: list[Part]) -> None:
    """An opening or end chunk gets facts that analyses use, of any type."""
    having = [part for part in found if isinstance(part.content, dict)]
    if not having:
        return
    part = rng.choice(having)
    tree = part.content = copy.deepcopy(part.content)
    group = tree.setdefault(rng.choice(["facts", "closing"]), {})
    name = rng.choice(
        [
            *("kernel", "clock", "clock_steps", "cpu", "split_lock", "processes", "segment", "simulated"),
            *("probes", "filters", "limits", "exits", "kvm", "host", "tool", "seen", "unfinished", "skipped"),
            *("cost", "filtered", "ended_by"),
        ]
    )
    if isinstance(group, dict):
        if rng.random() < 0.5 or not isinstance(group.get(name), dict):
            group[name] = _value(rng)
        else:
            _change_below(rng, group[name])
    if rng.random() < 0.2:
        tree["discarded"] = {
            "below": rng.choice([1, 2, 3, *NUMBERS]),
            "records": {rng.choice(["trap", "x", "detail"]): rng.choice(NUMBERS)},
            "lost": [[rng.choice(NUMBERS) for _ in range(rng.choice([3, 4]))]],
            "first_ns": rng.choice(NUMBERS),
            "last_ns": rng.choice(NUMBERS),
        }


def change_the_schema(rng: random.Random, found: list[Part]) -> None:
    """The description of the records in the file is another one, mostly of the same size."""
    kind = rng.randrange(1 << 30)
    type_ = rng.choice(
        [*SCALARS, "char[8]", "char[4]", "char[16]", "u8[8]", "u32[2]", "u16[2]", "s32[2]", "u64[1]", "u8[4]"]
    )
    for part in found:
        # The same change in each copy, or the first one that is sound is another one.
        if isinstance(part.content, dict) and isinstance(part.content.get("schema"), dict):
            part.content = copy.deepcopy(part.content)
            _change_schema(random.Random(kind), part.content["schema"], type_)


def _change_schema(rng: random.Random, schema: dict[str, Any], type_: str) -> None:
    try:
        record = rng.choice(schema["records"])
        field = rng.choice(record["fields"])
        match rng.randrange(7):
            case 0 | 1:
                field["type"] = type_
            case 2:
                field["name"] = rng.choice(["x", "start_ns", "tid", "flags", "ns"])
            case 3:
                field["meaning"] = rng.choice(["-1: not known", "5: not known", "0: not known", ""])
            case 4:
                record["fields"].append(
                    {"name": "more", "type": "u64", "offset": _size(record), "unit": "x", "meaning": ""}
                )
            case 5:
                each = rng.choice(schema["enums"])
                rng.choice(each["members"])["value"] = rng.choice([*NUMBERS, -1])
            case _:
                each = rng.choice(schema["enums"])
                rng.choice(each["members"])["name"] = rng.choice(
                    ["X", "TRAP", "", "mro", "_x_", "a b", "NONE"]
                )
    except (LookupError, TypeError, AttributeError):
        pass  # an earlier change left no schema


def _size(record: dict[str, Any]) -> int:
    last = record["fields"][-1]
    return int(last["offset"]) + np.dtype(SCALARS.get(last["type"], "u8")).itemsize


def _value(rng: random.Random) -> Any:
    return rng.choice(_VALUES)(rng)


def _change_below(rng: random.Random, tree: Any) -> None:
    while True:
        keys = (
            list(tree) if isinstance(tree, dict) else list(range(len(tree) if isinstance(tree, list) else 0))
        )
        if not keys:
            if isinstance(tree, dict):
                tree[rng.choice(["", "x", "-1", "0"])] = _value(rng)
            return
        key = rng.choice(keys)
        if isinstance(tree[key], (dict, list)) and rng.random() < 0.8:
            tree = tree[key]
            continue
        if rng.random() < 0.2:
            del tree[key]
        else:
            tree[key] = _value(rng)
        return


CHANGES: Sequence[Callable[[random.Random, list[Part]], None]] = (
    *(change_a_field, change_a_field, change_a_field),
    *(change_the_rows, change_a_header, change_the_chunks, change_the_payload),
    *(change_the_json, nest_deeply, add_facts, add_facts, change_the_schema),
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The recording with one to six changes, and sometimes with wrong bytes."""
    found = parts(data)
    for _ in range(rng.choice([1, 1, 2, 3, 6])):
        rng.choice(CHANGES)(rng, found)
    made = bytearray(pack_file_header() + b"".join(part.pack(rng) for part in found))
    if rng.random() < 0.1:
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.05:
        del made[rng.randrange(len(made)) :]
    return bytes(made)


def samples(folder: Path) -> list[bytes]:
    """The recordings to begin with: small ones of every finding."""
    return [each.read_bytes() for each in sorted(folder.glob("*.sld"))]
