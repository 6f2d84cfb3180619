"""Rows of DataFrames as plain values for JSON: one form for addresses, null for what is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sldtrace.dataset.frames import Column
from sldtrace.lazy import pd
from sldtrace.text.phrases import address

_HEXADECIMAL = {"address", "MSR"}  # units of 64-bit values, which many programs cannot hold as a number

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RowsOf:
    """The columns of rows, to annotate a field with; for the JSON Schema."""

    columns: Callable[[], Mapping[str, Column]]


def is_hexadecimal(column: Column) -> bool:
    """Are the values hexadecimal strings in JSON? All addresses are, and values of MSRs."""
    return column.unit in _HEXADECIMAL


def rows(frame: pd.DataFrame, columns: Mapping[str, Column]) -> tuple[Row, ...]:
    """Each row with its values as Python's own types; columns that are not declared as pandas has them."""
    return of_values({name: _values(frame[name]) for name in frame.columns}, columns)


def of_values(values: Mapping[str, Sequence[Any]], columns: Mapping[str, Column]) -> tuple[Row, ...]:
    """The same of values of Python by column, None for what is not known."""
    made = {
        name: [None if each is None else address(each) for each in listed]
        if name in columns and is_hexadecimal(columns[name])
        else listed
        for name, listed in values.items()
    }
    return tuple(dict(zip(made, each, strict=True)) for each in zip(*made.values(), strict=True))


def _values(values: pd.Series[Any]) -> list[Any]:
    missing = values.isna().tolist()
    objects = values.astype(object).tolist()
    return [None if absent else _plain(value) for value, absent in zip(objects, missing, strict=True)]


# pandas before 2 gives numpy's scalars for some types.
def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
