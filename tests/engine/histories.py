"""Traps of several threads, each after the other, for property tests."""

from typing import Any

from hypothesis import strategies as st

from tests.analyzers.synthetic import (
    COMPLETED,
    FLAGS,
    GUEST,
    MS,
    START_NS,
    Row,
    completed,
    early,
    interrupted,
    not_penalized,
)

KINDS: dict[str, Any] = {
    "early": early,
    "completed": completed,
    "interrupted": interrupted,
    "not penalized": not_penalized,
    "unwatched": lambda at, **fields: completed(
        at, **fields, flags=COMPLETED & ~FLAGS["EXITS_WATCHED"] | GUEST
    ),
}
"""How a trap may end, and what makes such a record."""

SPAN_MS = 400

_TRAP = st.tuples(
    st.sampled_from(list(KINDS)), st.integers(1, 40), st.sampled_from([0, 3, 4, 30]), st.integers(0, 2)
)


def _rows(threads: list[list[tuple[str, int, int, int]]]) -> list[Row]:
    rows = []
    for number, traps in enumerate(threads):
        at = number * MS // 7
        for kind, pause_ms, wait_ms, where in traps:
            at += pause_ms * MS
            fields = {"tid": 201 + number, "tgid": 200 + number // 2, "vcpu": where - 1, "rip": 64 + where}
            row = KINDS[kind](at, **fields)
            if kind in ("completed", "unwatched"):
                row |= {"semaphore_ns": wait_ms * MS, "end_ns": row["end_ns"] + wait_ms * MS}
            rows.append(row)
            at = row["end_ns"] - START_NS
    return sorted(rows, key=lambda row: row["start_ns"])


histories = st.lists(st.lists(_TRAP, max_size=8), min_size=1, max_size=4).map(_rows)
"""Traps of up to four threads with TIDs from 201; two of them are of one process each."""

cuts = st.lists(st.integers(0, SPAN_MS * 2).map(lambda half: half * MS // 2), max_size=6)
"""Times at which slices end."""
