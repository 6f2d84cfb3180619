"""VM exits as analyzers and reports want them: named, summed by thread and reason, percentiles as bounds."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sldtrace.host import exits

OTHER_REASONS = 0xFFFFFFFF
"""In `reason` of a `counts` record: all reasons for which there was no counter left."""

QUANTILES = {"median": 0.5, "p99": 0.99}
"""The quantiles that `summed` gives bounds of, by the name in its columns."""

_REASON = ["isa", "reason", "vector"]
_SVM_EXCEPTION = 0x40
_OPEN_BIN = 31  # the last one has no upper end


def vectors(isa: "pd.Series[Any]", reason: "pd.Series[int]", intr_info: "pd.Series[int]") -> "pd.Series[int]":
    """The vector of each exit by an exception, as in `counts` records; -1 for all others."""
    intel = (isa == exits.VMX) & (reason == 0)
    amd = (isa == exits.SVM) & reason.between(_SVM_EXCEPTION, _SVM_EXCEPTION + 31)
    values = np.select([intel, amd], [intr_info & 0xFF, reason - _SVM_EXCEPTION], -1)
    return pd.Series(values, index=reason.index, dtype="int64")


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows (isa, reason, vector, ...) with `name` (a category) and `split_lock` of host.exits."""
    keys = rows[_REASON].astype({"isa": "object"})
    distinct = keys.drop_duplicates()
    codes = keys.groupby(_REASON, sort=False).ngroup()
    triples = list(distinct.itertuples(index=False, name=None))
    labels = [exits.name(*triple) for triple in triples]
    categories = list(dict.fromkeys(labels))
    positions = np.array([categories.index(label) for label in labels], dtype=np.intp)
    trapped = np.array([exits.is_split_lock(*triple) for triple in triples], dtype=bool)
    return rows.assign(
        name=pd.Categorical.from_codes(
            positions[codes.to_numpy()], categories=pd.Index(categories, dtype=str)
        ),
        split_lock=trapped[codes.to_numpy()],
    )


def summed(counts: pd.DataFrame) -> pd.DataFrame:
    """One row for each thread and reason of `counts` records, most exits first.

    Columns: tgid, tid, vcpu, isa, reason, vector, name, split_lock, since_ns and ns (first and last reading),
    count, guest_ns, host_ns, and for each of QUANTILES the bounds of the host time, for example median_low_ns
    and median_high_ns (Int64; <NA>: no entry was seen, or there is no upper bound).
    """
    sums = [name for name in counts.columns if name in ("count", "guest_ns", "host_ns") or _is_bin(name)]
    how: dict[str, Any] = {"vcpu": "last", "since_ns": "min", "ns": "max"} | dict.fromkeys(sums, "sum")
    by = ["tgid", "tid", *_REASON]
    rows = counts.assign(isa=counts["isa"].astype(object), vector=counts["vector"].fillna(-1).astype("int64"))
    table = rows.groupby(by, sort=False).agg(how).reset_index()
    bins = [name for name in sums if _is_bin(name)]
    for name, share in QUANTILES.items():
        low, high = bounds(table[bins].to_numpy(np.int64), share)
        table[f"{name}_low_ns"], table[f"{name}_high_ns"] = low, high
    table = named(table.drop(columns=bins))
    other = table["reason"] == OTHER_REASONS
    table["name"] = table["name"].cat.add_categories("other reasons").where(~other, "other reasons")
    first = ["tgid", "tid", "vcpu", *_REASON, "name", "split_lock"]
    table = table[[*first, *(name for name in table.columns if name not in first)]]
    return table.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def bounds(histograms: npt.NDArray[np.int64], share: float) -> tuple[Any, Any]:
    """Bounds in ns of the value below which `share` of the events lie, for each row of log2 histograms.

    Entry n counts events of 2^n to 2^(n+1) ns (entry 0: from 0), the last one all above. Two Int64 arrays:
    at least, and less than; <NA> for an empty row, and above the last entry.
    """
    total = histograms.sum(axis=1)
    rank = np.maximum(np.ceil(share * total), 1)
    found = (histograms.cumsum(axis=1) >= rank[:, None]).argmax(axis=1)
    low = np.where(found == 0, 0, np.int64(1) << found.astype(np.int64))
    high = np.int64(2) << found.astype(np.int64)
    empty = total == 0
    return (
        pd.arrays.IntegerArray(low, empty),
        pd.arrays.IntegerArray(high, empty | (found == _OPEN_BIN)),
    )


def _is_bin(name: str) -> bool:
    return name.startswith("host_log2_")
