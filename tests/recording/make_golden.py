"""Makes data/vN.sld and vN.json (what is in it): run once for a new schema version, never for an old one."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace.recording import schema
from sldtrace.recording.encoding import Codec, Encoder
from sldtrace.recording.layout import Field
from sldtrace.recording.writer import Writer

FOLDER = Path(__file__).parent / "data"


FACTS = {"clock": {"monotonic_ns": 10**9, "realtime_ns": 179 * 10**16}, "kernel": {"release": "6.1.0-golden"}}
UPDATE = {"note": "between"}
CLOSING = {"reason": "golden"}


def rows() -> dict[str, list[dict[str, Any]]]:
    """Three records of every kind; field number n of record i holds 1000 * i + n; an array counts on."""

    def value(field: Field, number: int) -> Any:
        if field.dtype.kind == "S":
            return f"vcpu{number}"
        return [number + k for k in range(field.dtype.shape[0])] if field.is_array else number

    return {
        record.name: [
            {field.name: value(field, 1000 * i + n) for n, field in enumerate(record.fields)}
            for i in range(3)
        ]
        for record in schema.current().records.values()
    }


def content() -> str:
    """What is in the recording as JSON, a line for each record."""
    facts = {"facts": FACTS, "updates": [UPDATE], "closing": CLOSING}
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in facts.items()]
    kinds = [
        f"{json.dumps(kind)}: [\n" + ",\n".join(f"   {json.dumps(row)}" for row in given) + "\n  ]"
        for kind, given in rows().items()
    ]
    lines.append('"records": {\n  ' + ",\n  ".join(kinds) + "\n }")
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def make(folder: Path) -> None:
    """Writes the recording and its content."""
    path = folder / f"v{schema.SCHEMA_VERSION}.sld"
    with Writer(path, FACTS, recording_id=1, encoder=Encoder(Codec.ZLIB)) as writer:
        for kind, given in rows().items():
            dtype = schema.current().records[kind].dtype
            records = np.array([tuple(row.values()) for row in given], dtype=dtype)
            writer.append(kind, records)
        writer.facts_update(UPDATE)
        writer.close(CLOSING)
    path.with_suffix(".json").write_text(content())


if __name__ == "__main__":
    make(FOLDER)
