"""VM exits summed by thread and reason; percentiles as bounds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sldtrace.dataset import exit_counts
from sldtrace.dataset.trace import Trace
from sldtrace.host.exits import OTHER_REASONS
from tests.analyzers.synthetic import START_NS, VCPU, VMM, counted, trace


def histogram(**entries: int) -> list[int]:
    return [entries.get(f"e{index}", 0) for index in range(32)]


@pytest.mark.parametrize(
    ("entries", "share", "low", "high"),
    [
        ({"e10": 1}, 0.5, 1024, 2048),
        ({"e10": 1}, 0.99, 1024, 2048),
        ({"e0": 3}, 0.5, 0, 2),
        ({"e1": 3}, 0.5, 2, 4),
        ({"e5": 50, "e6": 50}, 0.5, 32, 64),
        ({"e5": 50, "e6": 51}, 0.5, 64, 128),
        ({"e5": 99, "e20": 1}, 0.99, 32, 64),
        ({"e5": 98, "e20": 2}, 0.99, 1 << 20, 1 << 21),
        ({"e31": 1}, 0.5, 1 << 31, None),
        ({}, 0.5, None, None),
    ],
)
def test_bounds(entries: dict[str, int], share: float, low: int | None, high: int | None) -> None:
    lows, highs = exit_counts.bounds(np.array([histogram(**entries)]), share)
    assert [None if pd.isna(value) else value for value in (lows[0], highs[0])] == [low, high]


def test_bounds_hold_the_true_quantile() -> None:
    """Against the definition, on many rows at once: the k-th smallest of n lies within its bounds."""
    random = np.random.default_rng(7)
    values = random.lognormal(9, 3, (50, 400)).astype(np.int64)
    entries = np.floor(np.log2(np.maximum(values, 1))).astype(int)
    rows = np.array([np.bincount(row, minlength=32) for row in entries])
    for share in exit_counts.QUANTILES.values():
        low, high = exit_counts.bounds(rows, share)
        exact = np.sort(values, axis=1)[:, int(np.ceil(share * 400)) - 1]
        assert (low <= exact).all()
        assert (exact < high).all()


def made(folder: Path, *rows: dict[str, Any]) -> Trace:
    return trace(folder, more={"counts": rows})


def test_records_of_a_thread_and_a_reason_become_one_row(tmp_path: Path) -> None:
    later = {"ns": START_NS + 9, "since_ns": START_NS + 5}
    found = made(
        tmp_path,
        counted(10, 3, {10: 3}, ns=START_NS + 5),
        counted(10, 40, {10: 1, 15: 39}, **later),
        counted(10, 8, {}, tid=VCPU + 1, vcpu=1),
    ).exit_counts
    assert found[["tid", "vcpu", "count"]].to_numpy().tolist() == [[VCPU, 0, 43], [VCPU + 1, 1, 8]]
    first = found.iloc[0]
    assert (first["tgid"], first["name"], first["split_lock"]) == (VMM, "CPUID", False)
    assert (first["since_ns"], first["ns"]) == (START_NS, START_NS + 9)
    assert first["guest_ns"] == 43 * 6_000
    assert (first["p50_low_ns"], first["p50_high_ns"]) == (1 << 15, 1 << 16)
    assert found.iloc[1][["p50_low_ns", "p99_high_ns"]].isna().all()


def test_exceptions_are_distinguished_by_vector_and_vendors_by_extension(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        counted(0, 9, {}, vector=17),
        counted(0, 8, {}, vector=14),
        counted(0x51, 7, {}, vector=17, isa=2),
        counted(0x51, 6, {}),
        counted(OTHER_REASONS, 5, {}),
    ).exit_counts
    assert found["name"].tolist() == [
        "EXCEPTION_NMI (#AC)",
        "EXCEPTION_NMI (#PF)",
        "AC excp",
        "reason 81 (0x51)",
        "other reasons",
    ]
    assert found["split_lock"].tolist() == [True, False, True, False, False]


def test_nothing_counted_has_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    some, none = made(tmp_path / "some", counted(1, 1, {1: 1})).exit_counts, made(tmp_path).exit_counts
    assert none.empty
    assert list(none.columns) == list(some.columns)


def test_single_exits_have_vector_and_name(tmp_path: Path) -> None:
    rows = [
        {"ns": START_NS, "isa": 1, "reason": 0, "intr_info": 0x80000B11},
        {"ns": START_NS + 1, "isa": 1, "reason": 48, "intr_info": 0x11},
        {"ns": START_NS + 2, "isa": 2, "reason": 0x51, "flags": 1},
        {"ns": START_NS + 3, "isa": 2, "reason": 0x400, "flags": 2},
        {"ns": START_NS + 4, "isa": 9, "reason": 0, "intr_info": 17},
    ]
    found = trace(tmp_path, more={"exit": rows}).exits
    assert found["vector"].tolist() == [17, -1, 17, -1, -1]
    assert found["name"].tolist() == [
        "EXCEPTION_NMI (#AC)",
        "EPT_VIOLATION",
        "AC excp",
        "npf",
        "reason 0 (0x0)",
    ]
    assert found["split_lock"].tolist() == [True, False, True, False, False]
    assert found["user"].tolist() == [False, False, True, False, False]
    assert isinstance(found["name"].dtype, pd.CategoricalDtype)


def test_returns_to_the_vmm_are_named(tmp_path: Path) -> None:
    rows = [{"ns": START_NS + n, "reason": 10 - 8 * (n % 2), "error": -4 * (n == 2)} for n in range(4)]
    found = trace(tmp_path, more={"user_exit": rows}).user_exits
    assert found["name"].tolist() == ["KVM_EXIT_INTR", "KVM_EXIT_IO", "EINTR", "KVM_EXIT_IO"]
    (tmp_path / "empty").mkdir()
    assert trace(tmp_path / "empty").user_exits.empty


def test_waits_have_their_length(tmp_path: Path) -> None:
    rows = [{"ns": START_NS, "end_ns": START_NS + 7, "what": 1}]
    assert trace(tmp_path, more={"stall": rows}).stalls["waited_ns"].tolist() == [7]
