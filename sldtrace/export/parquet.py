"""Tables as Parquet: a folder with one file for each kind of record."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sldtrace.dataset.frames import Column
from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from sldtrace.export import tables


def require() -> Any:
    """pyarrow; raises SldtraceError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SldtraceError(
            "--format parquet needs pyarrow, which is not installed",
            "pip install 'sldtrace[parquet]'; csv and jsonl need nothing more",
        ) from error
    return pyarrow


def write(trace: Trace, folder: Path, wanted: Collection[str] = ()) -> None:
    """KIND.parquet for each kind of record, and recording.json; a row group for each part of a table.

    Each column has its unit and meaning as metadata, each file the facts of the host as `sldtrace`.
    """
    arrow = require()
    facts = json.dumps({"facts": trace.facts})
    for kind in tables.kinds(trace, wanted):
        columns = tables.columns(kind)
        schema = arrow.schema(
            [
                arrow.field(
                    name, _type(arrow, column), metadata={"unit": column.unit, "meaning": column.meaning}
                )
                for name, column in columns.items()
            ],
            metadata={"sldtrace": facts, "kind": kind},
        )
        # Times and durations are all different: a dictionary of them is larger than they are.
        unique = [name for name, column in columns.items() if column.unit in ("ns", "time")]
        with arrow.parquet.ParquetWriter(
            folder / f"{kind}.parquet",
            schema,
            compression="zstd",
            use_dictionary=[name for name in columns if name not in unique],
            column_encoding=dict.fromkeys(unique, "DELTA_BINARY_PACKED"),
        ) as writer:
            for part in tables.parts(trace, kind):
                writer.write_table(arrow.Table.from_pandas(part, schema, preserve_index=False))
    (folder / "recording.json").write_text(tables.text(trace, wanted), encoding="utf-8")


def _type(arrow: Any, column: Column) -> Any:
    if column.dtype.startswith("datetime64"):
        return arrow.timestamp("ns", "UTC")
    if column.dtype in ("text", "category"):
        return arrow.string()
    return {"bool": arrow.bool_(), "uint64": arrow.uint64()}.get(column.dtype, arrow.int64())
