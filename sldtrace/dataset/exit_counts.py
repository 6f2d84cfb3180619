"""VM exits as analyzers and reports want them: named, summed by thread and reason, percentiles as bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.dataset import frames
from sldtrace.dataset.frames import Column
from sldtrace.dataset.rows import BATCH, Array, Labels
from sldtrace.engine.count_sums import CountSums
from sldtrace.host import exits
from sldtrace.lazy import pd
from sldtrace.model.early_returns import Bools
from sldtrace.recording import schema as schemas
from sldtrace.recording.layout import Records
from sldtrace.recording.timeline import Timeline

QUANTILES = {"p50": 0.5, "p99": 0.99}
"""The quantiles that `summed` gives bounds of, by the name in its columns."""

_OF_COUNTS, _OF_EXITS = frames.columns("counts"), frames.DERIVED["exit"]
_BOUNDS = {
    f"{name}_{side}_ns": Column("Int64", "ns", f"{100 * share:g} % of the exits took the host {text}")
    for name, share in QUANTILES.items()
    for side, text in (("low", "at least this; <NA>: no entry was seen"), ("high", "less; <NA>: not known"))
}
COLUMNS: Mapping[str, Column] = {
    **{name: _OF_COUNTS[name] for name in ("tgid", "tid", "vcpu")},
    "isa": Column("text", "isa", "vmx (Intel) or svm (AMD)"),
    "reason": _OF_COUNTS["reason"],
    **_OF_EXITS,
    "since_ns": Column("int64", "ns", "when the counters were read for the first time"),
    "ns": Column("int64", "ns", "and for the last time"),
    **{name: _OF_COUNTS[name] for name in ("count", "guest_ns", "host_ns")},
    **_BOUNDS,
}
"""The columns of `summed`."""

_REASON = ["isa", "reason", "vector"]
_SVM_EXCEPTION = 0x40
_OPEN_BIN = 31  # the last one has no upper end


def vectors(isa: Array, reason: Array, intr_info: Array) -> Array:
    """The vector of each exit by an exception, as in `counts` records; -1 for all others.

    isa: as in the records (enum sld_isa).
    """
    numbers = schemas.current().enums["isa"].values
    intel = (isa == numbers["VMX"]) & (reason == 0)
    amd = (isa == numbers["SVM"]) & (reason >= _SVM_EXCEPTION) & (reason <= _SVM_EXCEPTION + 31)
    given = (intr_info & 0xFF).astype(np.int64)
    return np.where(intel, given, np.where(amd, reason.astype(np.int64) - _SVM_EXCEPTION, -1))


def derived(labels: Mapping[str, Labels], records: Records) -> dict[str, Array]:
    """`vector`, `name` (a number, see rows.Labels) and `split_lock` of host.exits for records of VM exits."""
    isa, reason = records["isa"], records["reason"]
    vector = vectors(isa, reason, records["intr_info"])
    isas = schemas.current().enums["isa"]
    # One look-up for each different exit.
    key = (isa.astype(np.int64) << 48) + (reason.astype(np.int64) << 9) + vector + 1
    codes, _ = pd.factorize(key)
    first = np.unique(codes, return_index=True)[1]
    exits_ = [(isas.name_of(int(isa[n])), int(reason[n]), int(vector[n])) for n in first]
    numbers = np.array([labels["name"].number(exits.name(*each)) for each in exits_], np.uint64)
    trapped = np.array([exits.is_split_lock(*each) for each in exits_], bool)
    return {"vector": vector, "name": numbers[codes], "split_lock": trapped[codes]}


def returned(labels: Mapping[str, Labels], records: Records) -> dict[str, Array]:
    """`name` (a number, see rows.Labels) of host.exits for records of returns to the VMM."""
    reason, error = records["reason"], records["error"]
    codes, _ = pd.factorize((reason.astype(np.int64) << 32) + error)
    first = np.unique(codes, return_index=True)[1]
    numbers = [labels["name"].number(exits.user_name(int(reason[n]), int(error[n]))) for n in first]
    return {"name": np.array(numbers, np.uint64)[codes]}


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


def summed(recording: Timeline) -> pd.DataFrame:
    """One row for each thread and reason of the `counts` records, most exits first; columns: COLUMNS."""
    sums = CountSums()
    for records in recording.batches("counts", BATCH):
        sums.add(records)
    rows = sums.rows
    enums, parts = frames.enumerations(recording, schemas.current()), frames.parts("counts")
    first = ["tgid", "tid", "vcpu", *_REASON]
    found = pd.DataFrame({name: parts[name].of(rows[name], enums) for name in first})
    found["isa"] = found["isa"].astype(str)
    found["vector"] = rows["vector"].astype(np.int64)
    found = named(found)
    other = found["reason"] == exits.OTHER_REASONS
    found["name"] = found["name"].cat.add_categories("other reasons").where(~other, "other reasons")
    for name in ("since_ns", "ns", "count", "guest_ns", "host_ns"):
        found[name] = rows[name]
    for name, share in QUANTILES.items():
        found[f"{name}_low_ns"], found[f"{name}_high_ns"] = bounds(rows["host_log2"], share)
    return found.sort_values("count", ascending=False, kind="stable", ignore_index=True)


_PLAIN = ("tgid", "tid", "vcpu", "isa", "reason", "vector", "since_ns", "ns", "count", "guest_ns", "host_ns")


def chosen(recording: Timeline, rows: Array, accept: Callable[[str, int, int], bool]) -> Bools:
    """For each of CountSums.rows: does `accept` take its isa, reason, vector? Asked once for each three."""
    isas = frames.enumerations(recording, schemas.current())["isa"]
    key = (rows["isa"].astype(np.int64) << 48) + (rows["reason"].astype(np.int64) << 9) + rows["vector"] + 1
    _, first, codes = np.unique(key, return_index=True, return_inverse=True)
    triples = rows[first][_REASON].tolist()
    accepted = [accept(isas.name_of(isa), reason, vector) for isa, reason, vector in triples]
    found: Bools = np.array(accepted, bool)[codes]
    return found


def plain(recording: Timeline, rows: Array) -> list[dict[str, Any]]:
    """Some of CountSums.rows as values of Python, most exits first; vcpu: None where it is not known."""
    enums, parts = frames.enumerations(recording, schemas.current()), frames.parts("counts")
    rows = rows[np.argsort(-rows["count"], kind="stable")]
    columns = [parts[name].plain(rows[name], enums) for name in _PLAIN]
    return [dict(zip(_PLAIN, values, strict=True)) for values in zip(*columns, strict=True)]


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
