"""From running counters to lost records: nothing twice, nothing missed, on every CPU."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.capture.bpf.syscalls import Runs
from sldtrace.capture.losses import Losses
from sldtrace.recording import schema
from tests.capture.fakes import no_event_counts

CAUSES = schema.current().enums["lost_cause"].values
TRAP, DETECTION, TASK = (schema.current().records[name].number for name in ("trap", "detection", "task"))
SEEN, FULL, TABLE, UNFINISHED, SKIPPED = (
    CAUSES[name] for name in ("NONE", "RING_FULL", "TABLE_FULL", "UNFINISHED", "SKIPPED")
)
NONE = np.empty(0, schema.current().records["lost"].dtype)
NO_CPU = 0xFFFF_FFFF  # struct sld_lost: the CPU is not known


def counters(*entries: tuple[int, int, int, int]) -> np.ndarray:
    """Counters from (kind, cause, cpu, count)."""
    table = no_event_counts()
    for kind, cause, cpu, count in entries:
        table[kind, cause, cpu] = count
    return table


def rows(records: np.ndarray) -> set[tuple[int, int, int, int]]:
    fields = ("kind", "cause", "cpu", "count")
    return {(kind, cause, cpu, count) for kind, cause, cpu, count in records[list(fields)].tolist()}


def test_nothing_lost_is_no_record() -> None:
    losses = Losses()
    assert len(losses.update(no_event_counts(), {}, NONE)) == 0
    assert len(losses.update(counters((TRAP, SEEN, 0, 1000), (TASK, SEEN, 1, 5)), {}, NONE)) == 0
    assert (losses.seen("trap"), losses.seen("task"), losses.seen("detection")) == (1000, 5, 0)
    assert losses.lost("trap") == 0


def test_before_the_first_look_nothing_is_known_to_be_lost() -> None:
    assert (Losses().seen("trap"), Losses().lost("trap")) == (0, 0)


def test_each_cpu_kind_and_cause_has_its_record_of_what_was_added() -> None:
    losses = Losses()
    first = counters((TRAP, SEEN, 0, 100), (TRAP, FULL, 0, 7), (TRAP, FULL, 1, 2), (TASK, TABLE, 1, 1))
    records = losses.update(first, {}, NONE)
    assert rows(records) == {(TRAP, FULL, 0, 7), (TRAP, FULL, 1, 2), (TASK, TABLE, 1, 1)}
    assert records.dtype == schema.current().records["lost"].dtype
    assert len(set(records["ns"].tolist())) == 1
    assert records["ns"][0] > 0
    assert len(losses.update(first, {}, NONE)) == 0
    second = counters(
        (TRAP, SEEN, 0, 300),
        (TRAP, SEEN, 1, 50),
        (TRAP, FULL, 0, 7),
        (TRAP, FULL, 1, 5),
        (TRAP, UNFINISHED, 0, 1),
        (TASK, TABLE, 1, 1),
    )
    assert rows(losses.update(second, {}, NONE)) == {(TRAP, FULL, 1, 3), (TRAP, UNFINISHED, 0, 1)}
    assert losses.seen("trap") == 350
    assert losses.lost("trap") == 13
    assert (losses.seen("task"), losses.lost("task")) == (0, 1)


def test_the_callers_array_may_be_used_again() -> None:
    losses = Losses()
    table = counters((TRAP, FULL, 0, 1))
    losses.update(table, {}, NONE)
    table[TRAP, FULL, 0] = 4
    assert rows(losses.update(table, {}, NONE)) == {(TRAP, FULL, 0, 3)}


def test_large_counts_are_exact() -> None:
    losses = Losses()
    losses.update(counters((TRAP, FULL, 1, (1 << 60) + 1)), {}, NONE)
    assert rows(losses.update(counters((TRAP, FULL, 1, (1 << 60) + 4)), {}, NONE)) == {(TRAP, FULL, 1, 3)}
    assert losses.lost("trap") == (1 << 60) + 4


ENTRY = "kfunc__vmlinux__handle_guest_split_lock"


@pytest.mark.parametrize(
    ("function", "counts"),
    [
        (ENTRY, True),
        ("kfunc__handle_guest_split_lock", True),
        ("kprobe__handle_guest_split_lock", True),
        ("kretfunc__vmlinux__handle_guest_split_lock", False),
        ("kretprobe__handle_guest_split_lock", False),
        ("kfunc__vmlinux__split_lock_warn", True),
        ("kprobe__msleep_interruptible", False),
        ("tracepoint__kvm__kvm_exit", False),
    ],
)
def test_a_run_whose_beginning_was_skipped_is_lost_and_was_not_seen(function: str, counts: bool) -> None:
    losses = Losses()
    skipped = 4 if counts else 0
    assert rows(losses.update(no_event_counts(), {function: Runs(0, 4)}, NONE)) == (
        {(TRAP, SKIPPED, NO_CPU, 4)} if counts else set()
    )
    assert (losses.seen("trap"), losses.lost("trap")) == (0, 0)
    assert len(losses.update(no_event_counts(), {function: Runs(0, 4)}, NONE)) == 0
    table = counters((TRAP, FULL, 1, 2))
    assert rows(losses.update(table, {function: Runs(0, 9)}, NONE)) == {(TRAP, FULL, 1, 2)} | (
        {(TRAP, SKIPPED, NO_CPU, 9 - skipped)} if counts else set()
    )


def test_what_was_skipped_has_a_time() -> None:
    (record,) = Losses().update(
        no_event_counts(), {ENTRY: Runs(5, 1), "kprobe__down_interruptible": Runs(5, 7)}, NONE
    )
    assert record["ns"] > 0
    assert record["count"] == 1


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([TRAP, DETECTION, TASK]),
                st.sampled_from([SEEN, FULL, TABLE, UNFINISHED]),
                st.integers(0, 1),
                st.integers(1, 1000),
            ),
            max_size=8,
        ),
        max_size=8,
    )
)
def test_the_records_add_up_to_the_counters(steps: list[list[tuple[int, int, int, int]]]) -> None:
    losses, table, total = Losses(), no_event_counts(), no_event_counts()
    for step in steps:
        for kind, cause, cpu, count in step:
            table[kind, cause, cpu] += np.uint64(count)
        for record in losses.update(table, {}, NONE):
            assert record["count"] > 0
            total[record["kind"], record["cause"], record["cpu"]] += record["count"]
    lost = table.copy()
    lost[:, SEEN] = 0
    assert (total == lost).all()
    for name, number in (("trap", TRAP), ("detection", DETECTION), ("task", TASK)):
        assert losses.seen(name) == (table[number, SEEN].sum() if steps else 0)
        assert losses.lost(name) == lost[number].sum()


def recorded(*entries: tuple[int, int, int, int, int]) -> np.ndarray:
    """Records of the probes from (kind, cause, cpu, tid, ns), of the process 7."""
    records = np.zeros(len(entries), NONE.dtype)
    for name, values in zip(("kind", "cause", "cpu", "tid", "ns"), zip(*entries, strict=True), strict=True):
        records[name] = values
    records["since_ns"], records["tgid"], records["count"] = records["ns"], 7, 1
    return records


def test_losses_that_the_probes_recorded_are_summed_up_by_thread() -> None:
    losses = Losses()
    one, other = (TRAP, FULL, 0, 71), (TRAP, FULL, 0, 72)
    given_records = recorded((*one, 30), (*other, 20), (*one, 10), (TASK, TABLE, 1, 72, 40), (*one, 35))
    table = counters((TRAP, SEEN, 0, 100), (TRAP, FULL, 0, 2))
    found = losses.update(table, {}, given_records)
    fields = ["kind", "cause", "cpu", "tgid", "tid", "count", "since_ns", "ns"]
    assert set(found[fields][found["tid"] != 0].tolist()) == {
        (*one[:3], 7, 71, 3, 10, 35),
        (*other[:3], 7, 72, 1, 20, 20),
        (TASK, TABLE, 1, 7, 72, 1, 40, 40),
    }
    (rest,) = found[found["tid"] == 0]
    assert (rest["count"], rest["tgid"]) == (2, 0)
    assert (losses.lost("trap"), losses.lost("task"), losses.seen("trap")) == (6, 1, 100)


def test_two_losses_of_a_thread_are_one_record() -> None:
    (found,) = Losses().update(counters(), {}, recorded((TRAP, FULL, 0, 71, 10), (TRAP, FULL, 0, 71, 20)))
    assert (found["count"], found["since_ns"], found["ns"]) == (2, 10, 20)


def test_what_was_only_counted_was_lost_between_two_readings() -> None:
    losses = Losses()
    (first,) = losses.update(counters((TRAP, FULL, 0, 1)), {}, NONE)
    (second,) = losses.update(counters((TRAP, FULL, 0, 2)), {}, NONE)
    assert 0 < first["since_ns"] <= first["ns"] <= second["since_ns"] <= second["ns"]
