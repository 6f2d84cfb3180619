"""Rows for JSON: Python's own types, one form for addresses, None for what is not known."""

import json

import numpy as np
import pandas as pd

from sldtrace.dataset.frames import Column
from sldtrace.reporters.rows import rows

COLUMNS = {
    "rip": Column("uint64", "address", "where"),
    "value": Column("uint64", "MSR", "what"),
    "vcpu": Column("Int64", "number", "which"),
    "share": Column("float64", "share", "how much"),
}


def test_each_type_of_column() -> None:
    frame = pd.DataFrame(
        {
            "rip": np.array([0x7C40, 0xFFFF_FFFF_8123_4567], np.uint64),
            "value": np.array([0, 1 << 29], np.uint64),
            "vcpu": pd.array([3, None], dtype="Int64"),
            "share": [0.5, np.nan],
            "guest": [True, False],
            "name": pd.Categorical(["a", "b"]),
            "odd": [np.int64(5), np.uint8(6)],
        }
    )
    made = rows(frame, COLUMNS)
    assert [list(row.values()) for row in made] == [
        ["0x7c40", "0x0", 3, 0.5, True, "a", 5],
        ["0xffffffff81234567", "0x20000000", None, None, False, "b", 6],
    ]
    assert json.loads(json.dumps(made)) == [dict(row) for row in made]


def test_no_rows() -> None:
    assert rows(pd.DataFrame({"rip": np.zeros(0, np.uint64)}), COLUMNS) == ()
