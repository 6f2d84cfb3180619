"""Lines and the threads of a recording, by TID and time."""

from datetime import datetime, timezone
from pathlib import Path

import pytest

from sldtrace.dataset.trace import Trace
from sldtrace.kernlog.join import Join, join
from tests.analyzers.synthetic import (
    MS,
    RIP,
    SPAN_NS,
    START_NS,
    VCPU,
    WALL_NS,
    completed,
    facts,
    loop,
    task,
    trace,
)
from tests.kernlog.test_survey import surveyed, trap

S = 1000 * MS
OTHER = VCPU + 1


def recording(folder: Path) -> Trace:
    """VCPU and OTHER trap; it begins at WALL_NS and lasts SPAN_NS (10 s)."""
    rows = [*loop(30), completed(0, tid=OTHER, vcpu=1)]
    return trace(folder, rows, tasks=[task(VCPU, b"CPU 0/KVM"), task(OTHER, b"CPU 1/KVM")])


def at(offset_ns: int) -> str:
    seconds, ns = divmod(WALL_NS + offset_ns, S)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%FT%T}.{ns:09}Z h kernel: "


def since_boot(offset_ns: int) -> str:
    return f"[{(START_NS + offset_ns) / S:12.6f}] "


def joined(folder: Path, *lines: str) -> Join:
    return join(surveyed(*lines), recording(folder))


PLACES = [
    (-1 * S, "during"),
    (0, "during"),
    (SPAN_NS, "during"),
    (SPAN_NS + S, "during"),
    (SPAN_NS + 4 * S, "after"),
]
NEAR = [
    (-2 * S - 1, "before"),
    (-2 * S, "during"),
    (SPAN_NS + 2 * S, "during"),
    (SPAN_NS + 2 * S + 1, "after"),
]


@pytest.mark.parametrize(("offset_ns", "when"), [(-3600 * S, "before"), (-3 * S, "before"), *PLACES, *NEAR])
def test_when_a_line_came(tmp_path: Path, offset_ns: int, when: str) -> None:
    found = joined(tmp_path, trap(tid=VCPU, address=RIP, before=at(offset_ns)))
    (pair,) = found.pairs
    assert (pair.when, pair.same_name, pair.same_address) == (when, True, True)
    assert (pair.logged.tid, pair.recorded.who.tid, pair.recorded.traps) == (VCPU, VCPU, 30)
    assert [thread.who.tid for thread in found.without_line] == [OTHER]
    assert found.without_trap == []
    assert not found.by_boot_clock


@pytest.mark.parametrize(("offset_ns", "when"), PLACES)
def test_when_a_line_came_by_the_time_since_boot(tmp_path: Path, offset_ns: int, when: str) -> None:
    found = joined(tmp_path, trap(tid=VCPU, before=since_boot(offset_ns)))
    assert [pair.when for pair in found.pairs] == [when]
    assert found.by_boot_clock


@pytest.mark.parametrize(
    "before", ["", "Mar 26 11:13:52 h kernel: ", "[Wed Aug 25 21:18:32 2021] ", "[ +0.5] "]
)
def test_a_time_that_is_not_known_is_not_compared(tmp_path: Path, before: str) -> None:
    found = joined(tmp_path, trap(tid=VCPU, before=before))
    assert [pair.when for pair in found.pairs] == ["unknown"]
    assert not found.by_boot_clock


def test_several_lines_before_and_after_reach_into_the_recording(tmp_path: Path) -> None:
    lines = [trap(tid=VCPU, before=at(offset)) for offset in (-100 * S, SPAN_NS + 100 * S)]
    assert [pair.when for pair in joined(tmp_path, *lines).pairs] == ["during"]


def test_the_vcpu_of_a_thread_is_the_last_one_that_is_known(tmp_path: Path) -> None:
    rows = [
        completed(at * S, tid=tid, vcpu=vcpu)
        for at, (tid, vcpu) in enumerate(
            [(VCPU, 3), (VCPU, 0), (VCPU, -1), (OTHER, -1), (OTHER, 1), (OTHER, 2)]
        )
    ]
    found = join(surveyed(*(trap("x", tid, before=at(S)) for tid in (VCPU, OTHER))), trace(tmp_path, rows))
    assert [(pair.recorded.who.vcpu, pair.recorded.traps) for pair in found.pairs] == [(0, 3), (2, 3)]


def test_the_other_way_round(tmp_path: Path) -> None:
    found = joined(tmp_path, trap(tid=999, before=at(S)), trap(tid=998))
    assert [(thread.tid, when) for thread, when in found.without_trap] == [(999, "during"), (998, "unknown")]
    assert {thread.who.tid for thread in found.without_line} == {VCPU, OTHER}
    assert found.pairs == []


@pytest.mark.parametrize(("offset_ns", "paired"), [(-3600 * S, False), (S, True), (SPAN_NS + 9 * S, False)])
def test_a_tid_with_another_name_is_another_thread_unless_the_time_is_right(
    tmp_path: Path, offset_ns: int, paired: bool
) -> None:
    found = joined(tmp_path, trap("old", VCPU, before=at(offset_ns)))
    assert [pair.same_name for pair in found.pairs] == [False] * paired
    assert len(found.without_trap) == (not paired)
    assert (VCPU in {thread.who.tid for thread in found.without_line}) is not paired


def test_another_address(tmp_path: Path) -> None:
    found = joined(
        tmp_path, trap(tid=VCPU, address=RIP + 1), trap("CPU 1/KVM", OTHER).split(" at address")[0]
    )
    assert [pair.same_address for pair in found.pairs] == [False, None]


def test_a_name_that_was_not_recorded(tmp_path: Path) -> None:
    found = join(surveyed(trap(tid=VCPU, before=at(-3600 * S))), trace(tmp_path, loop(3)))
    assert [pair.same_name for pair in found.pairs] == [None]


def test_kinds_of_one_thread_are_pairs_of_their_own(tmp_path: Path) -> None:
    bus = trap(tid=VCPU).replace("#AC", "#DB").replace("split_lock trap", "bus_lock trap")
    found = joined(tmp_path, trap(tid=VCPU), bus)
    assert [(pair.logged.kind, pair.recorded.who.tid) for pair in found.pairs] == [
        ("split-lock", VCPU),
        ("bus-lock", VCPU),
    ]


def test_a_recording_that_does_not_know_the_time(tmp_path: Path) -> None:
    blind = trace(tmp_path, loop(3), opening=facts(clock=None), ended={"seen": {"trap": 3}})
    found = join(surveyed(trap(tid=VCPU, before=at(0))), blind)
    assert [pair.when for pair in found.pairs] == ["unknown"]
    assert found.without_line == []
