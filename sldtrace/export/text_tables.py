"""Tables as text: CSV, one file for each kind of record, and JSON lines, one file for all."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TextIO

from sldtrace.dataset.trace import Trace
from sldtrace.export import tables

_ROWS = 1 << 13  # at a time: as text they take ten times the memory


def write_csv(trace: Trace, folder: Path, wanted: Collection[str] = ()) -> None:
    """KIND.csv for each kind of record with a header line, and recording.json."""
    for kind in tables.kinds(trace, wanted):
        with (folder / f"{kind}.csv").open("w", encoding="utf-8", newline="") as file:
            for number, part in enumerate(tables.parts(trace, kind, _ROWS)):
                part.to_csv(file, index=False, header=number == 0, lineterminator="\n")
    (folder / "recording.json").write_text(tables.text(trace, wanted), encoding="utf-8")


def write_json_lines(trace: Trace, file: TextIO, wanted: Collection[str] = ()) -> None:
    """One object a line: first `{"record": "recording", ...}`, then each record, kind after kind."""
    first = {"record": "recording"} | tables.described(trace, wanted)
    file.write(json.dumps(first) + "\n")
    for kind in tables.kinds(trace, wanted):
        for part in tables.parts(trace, kind, _ROWS):
            part.insert(0, "record", kind)
            part.to_json(file, orient="records", lines=True, date_format="iso", date_unit="ns")
