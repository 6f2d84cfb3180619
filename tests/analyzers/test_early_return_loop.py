"""The rule for early-return loops at its edges: one trap, one nanosecond, one jiffy more or less."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.analyzers import early_return_loop
from sldtrace.analyzers.finding import Severity
from sldtrace.host.signals import Code
from sldtrace.model import penalty
from tests.analyzers import synthetic
from tests.analyzers.shorthands import OTHER_RIP, at, find, one
from tests.analyzers.synthetic import (
    GUEST,
    LONGEST,
    MS,
    RIP,
    SIGUSR1,
    START_NS,
    TICK,
    VCPU,
    VMM,
    Row,
    early,
    facts,
    lasting,
    loop,
    served,
    unpunished,
)

# What is a loop


def test_a_livelock_is_one_finding_with_all_its_traps(tmp_path: Path) -> None:
    tasks = [synthetic.task(VCPU, b"CPU 0/KVM"), synthetic.task(VMM, b"qemu")]
    finding = one(tmp_path, loop(200), tasks=tasks)
    assert (finding.kind, finding.verdict) == ("early-return-loop", "livelock")
    assert finding.severity is Severity.CRITICAL
    assert vars(finding.subject) == {
        "process": "qemu",
        "tgid": VMM,
        "thread": "CPU 0/KVM",
        "tid": VCPU,
        "vcpu": 0,
    }
    assert finding.rip == RIP
    assert (finding.start_ns, finding.end_ns) == (START_NS, START_NS + 200 * MS - 30_000)
    assert len(finding.evidence) == 200
    assert finding.numbers == {
        "guest": True,
        "loops": 1,
        "in_loops_ns": 200 * MS - 30_000,
        "longest_ns": 200 * MS - 30_000,
        "traps": 200,
        "early_returns": 200,
        "penalties_served": 0,
        "detection_off": 0,
        "slept_median_ns": MS - 50_000,
        "exits": 199,
        "guest_ns": 199 * 6_000,
        "watched_traps": 199,
        "dead_ns": 2 * TICK,
        "alive_ns": 3 * TICK,
        "sleep_shortest_ns": 3 * TICK,
        "sleep_longest_ns": 4 * TICK,
        "signal": SIGUSR1,
        "signal_code": Code.SI_TIMER,
        "signal_tgid": 0,
        "signal_tid": 0,
        "signal_group": 0,
        "signal_seen": 200,
        "period_ns": MS,
        "period_spread_ns": 0,
    }


def test_no_traps_and_penalties_that_are_served_are_nothing(tmp_path: Path) -> None:
    assert find(tmp_path, []) == []
    assert find(tmp_path, [served(index * 20 * MS) for index in range(100)]) == []
    assert find(tmp_path, [unpunished(index * 8 * MS) for index in range(100)]) == []
    assert find(tmp_path, [], opening={}) == []


@pytest.mark.parametrize(("length_ns", "found"), [(LONGEST, 0), (LONGEST + 1, 1)])
def test_a_loop_outlasts_a_penalty(tmp_path: Path, length_ns: int, found: int) -> None:
    assert len(find(tmp_path, lasting(length_ns))) == found


def test_the_length_is_that_of_this_kernels_penalty(tmp_path: Path) -> None:
    old = facts(kernel={"release": "6.11.9"})
    assert find(tmp_path, lasting(5 * TICK), opening=old) == []
    assert len(find(tmp_path, lasting(5 * TICK + 1), opening=old)) == 1
    fast = facts(kernel={"tick_ns": MS})
    assert find(tmp_path, lasting(11 * MS), opening=fast) == []
    assert len(find(tmp_path, lasting(11 * MS + 1), opening=fast)) == 1


@pytest.mark.parametrize(("count", "found"), [(2, 0), (3, 1)])
def test_two_early_returns_may_be_chance(tmp_path: Path, count: int, found: int) -> None:
    assert len(find(tmp_path, lasting(100 * MS, count))) == found


@pytest.mark.parametrize(("left_ms", "found"), [(0, 0), (1, 1)])
def test_a_millisecond_left_is_an_early_return(tmp_path: Path, left_ms: int, found: int) -> None:
    counted = [finding.numbers["early_returns"] for finding in find(tmp_path, loop(30, left_ms=left_ms))]
    assert counted == [30] * found


@pytest.mark.parametrize(
    ("length_ns", "verdict", "severity"),
    [(8 * LONGEST - 1, "held up", Severity.WARNING), (8 * LONGEST, "livelock", Severity.CRITICAL)],
)
def test_a_livelock_is_eight_penalties_long(
    tmp_path: Path, length_ns: int, verdict: str, severity: Severity
) -> None:
    finding = one(tmp_path, lasting(length_ns, 40))
    assert (finding.verdict, finding.severity) == (verdict, severity)
    assert finding.numbers["longest_ns"] == finding.numbers["in_loops_ns"] == length_ns


def test_many_short_loops_are_no_livelock(tmp_path: Path) -> None:
    rows = [row for index in range(10) for row in lasting(20 * MS, 10, index * 100 * MS)]
    separated = [row | {"guest_ns": TICK} if index % 10 == 0 else row for index, row in enumerate(rows)]
    finding = one(tmp_path, separated)
    assert finding.verdict == "held up"
    assert finding.numbers["loops"] == 10
    assert finding.numbers["in_loops_ns"] == 200 * MS
    assert finding.numbers["longest_ns"] == 20 * MS


# What breaks a chain


def loops(folder: Path, rows: list[Row]) -> list[int]:
    """For each finding how many stretches it has."""
    return [finding.numbers["loops"] for finding in find(folder, rows)]


@pytest.mark.parametrize(("guest_ns", "stretches"), [(TICK - 1, 1), (TICK, 2)])
def test_a_jiffy_in_the_guest_is_progress(tmp_path: Path, guest_ns: int, stretches: int) -> None:
    finding = one(tmp_path, at(loop(40), 20, guest_ns=guest_ns))
    assert finding.numbers["loops"] == stretches
    assert finding.numbers["longest_ns"] == (20 if stretches == 2 else 40) * MS - 30_000
    assert finding.numbers["in_loops_ns"] == 40 * MS - stretches * 30_000


def test_what_a_chain_is_broken_by_belongs_to_neither_half(tmp_path: Path) -> None:
    finding = one(tmp_path, at(loop(41), 20, sleep_left_ms=0, flags=synthetic.SERVED | GUEST))
    assert finding.numbers["loops"] == 2
    assert finding.numbers["traps"] == 41
    assert finding.numbers["early_returns"] == len(finding.evidence) == 40
    assert finding.numbers["penalties_served"] == finding.numbers["detection_off"] == 1


@pytest.mark.parametrize(
    "other",
    [
        {"rip": OTHER_RIP},
        {"sleep_left_ms": 0},
        {"guest_ns": TICK},
        {"sleep_left_ms": 0, "flags": synthetic.UNPUNISHED | GUEST},
    ],
    ids=["address", "served", "guest ran", "unpunished"],
)
def test_halves_shorter_than_a_penalty_are_no_loop(tmp_path: Path, other: dict[str, Any]) -> None:
    assert loops(tmp_path, loop(21)) == [1]
    assert loops(tmp_path, at(loop(21), 10, **other)) == []


def test_two_addresses_in_turn_are_no_loop_and_one_after_the_other_are_two(tmp_path: Path) -> None:
    turns = [row | {"rip": (RIP, OTHER_RIP)[index % 2]} for index, row in enumerate(loop(200))]
    assert find(tmp_path, turns) == []
    rows = loop(30) + loop(60, 30 * MS, rip=OTHER_RIP)
    assert [(finding.rip, finding.numbers["traps"]) for finding in find(tmp_path, rows)] == [
        (OTHER_RIP, 60),
        (RIP, 30),
    ]


def test_addresses_that_differ_in_the_last_bit_are_told_apart(tmp_path: Path) -> None:
    high = 0xFFFF_FFFF_8100_0000
    turns = [row | {"rip": high + index % 2} for index, row in enumerate(loop(200))]
    assert find(tmp_path, turns) == []
    assert one(tmp_path, loop(30, rip=high + 1)).rip == high + 1


def test_a_chain_does_not_go_on_in_another_thread(tmp_path: Path) -> None:
    first = [early(0, tid=301), early(50 * MS, tid=301)]
    second = [early(60 * MS, tid=302), early(110 * MS, tid=302)]
    assert find(tmp_path, first + second) == []


def test_threads_that_take_turns_are_kept_apart(tmp_path: Path) -> None:
    mine = loop(100, tid=301, vcpu=0)
    yours = loop(50, MS // 2, tid=302, vcpu=1)
    stranger = [served(index * 20 * MS, tid=303, vcpu=2) for index in range(5)]
    found = find(tmp_path, mine + yours + stranger)
    assert [(each.subject.tid, each.subject.vcpu, each.numbers["traps"]) for each in found] == [
        (301, 0, 100),
        (302, 1, 50),
    ]
    assert [each.numbers["penalties_served"] for each in found] == [0, 0]


def test_records_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    rows = loop(30) + loop(30, tid=302)
    assert [vars(each.subject)["tid"] for each in find(tmp_path, rows[::-1])] == [VCPU, 302]
    shuffled = find(tmp_path, rows[::-1])[0].numbers
    assert shuffled == find(tmp_path, rows)[0].numbers


def oracle(rows: list[tuple[int, int, int, bool, int]], tick: int, longest: int) -> dict[Any, list[int]]:
    """The rule again, as a walk: lengths of the loops by thread and address.

    A row: TID, address, ms left, has the guest run for a jiffy before, time of entry.
    """
    found: dict[Any, list[int]] = {}
    for tid in {row[0] for row in rows}:
        chain: list[tuple[int, int, int, bool, int]] = []
        chains = [chain]
        for row in (row for row in rows if row[0] == tid):
            if row[2] == 0:
                chain = []
                chains.append(chain)
                continue
            if chain and (row[1] != chain[-1][1] or row[3]):
                chain = []
                chains.append(chain)
            chain.append(row)
        for each in chains:
            length = each[-1][4] + tick // 4 - each[0][4] if each else 0
            if len(each) >= 3 and length > longest:
                found.setdefault((tid, each[0][1]), []).append(length)
    return found


@given(
    st.lists(
        st.tuples(
            st.sampled_from([301, 302]),
            st.sampled_from([RIP, RIP, OTHER_RIP]),
            st.sampled_from([9, 9, 9, 1, 0]),
            st.sampled_from([False] * 6 + [True]),
        ),
        max_size=60,
    )
)
def test_any_sequence_agrees_with_a_plain_walk(given_rows: list[tuple[int, int, int, bool]]) -> None:
    kernel = penalty.of("6.12", TICK)
    rows = [(*row, index * TICK // 2) for index, row in enumerate(given_rows)]
    table = pd.DataFrame(
        [(tid, rip, left, TICK * ran, at, at + TICK // 4) for tid, rip, left, ran, at in rows],
        columns=["tid", "rip", "sleep_left_ms", "guest_ns", "enter_ns", "exit_ns"],
    ).astype("int64")
    found = early_return_loop.in_loops(early_return_loop.chains(table, kernel), kernel)
    lengths: dict[Any, list[int]] = {}
    for (tid, rip, _), group in found.groupby(["tid", "rip", "chain"]):
        assert group["lasted_ns"].nunique() == 1
        lengths.setdefault((tid, rip), []).append(int(group["lasted_ns"].iloc[0]))
    assert lengths == oracle(rows, TICK, LONGEST)
