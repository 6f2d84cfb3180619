"""Recordings of every schema version, as they were written then, are read the same."""

import json
from pathlib import Path

import pytest

from sldtrace.recording import schema
from sldtrace.recording.reader import open_recording

FOLDER = Path(__file__).parent / "data"


@pytest.mark.parametrize("version", range(1, schema.SCHEMA_VERSION + 1))
def test_reads_as_ever(version: int) -> None:
    expected = json.loads((FOLDER / f"v{version}.json").read_text())
    with open_recording(FOLDER / f"v{version}.sld") as recording:
        assert recording.warnings == []
        assert recording.schema.version == version
        assert recording.facts == expected["facts"]
        assert recording.updates == expected["updates"]
        assert recording.closing == expected["closing"]
        for kind, rows in expected["records"].items():
            records = recording.records(kind)
            assert len(records) == len(rows)
            for row, record in zip(rows, records, strict=True):
                for name, value in row.items():
                    found = record[name]
                    assert (found.decode() if isinstance(value, str) else found.tolist()) == value, (
                        kind,
                        name,
                    )
