"""The rule for early-return loops at its edges: one trap, one nanosecond, one jiffy more or less."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace import frames
from sldtrace.analyzers import early_return_loop
from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.host.signals import Code
from sldtrace.model import penalty
from tests.analyzers import synthetic
from tests.analyzers.synthetic import (
    EARLY,
    FLAGS,
    GUEST,
    LONGEST,
    MS,
    RIP,
    SIGALRM,
    SIGIO,
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
    trace,
    unpunished,
)

OTHER_RIP = 0x9000


def find(folder: Path, rows: list[Row], **rest: Any) -> list[Finding]:
    return early_return_loop.find(trace(folder, rows, **rest))


def one(folder: Path, rows: list[Row], **rest: Any) -> Finding:
    (finding,) = find(folder, rows, **rest)
    return finding


def at(rows: list[Row], index: int, **fields: Any) -> list[Row]:
    """The same rows, some fields of one of them changed."""
    return [row | fields if number == index else row for number, row in enumerate(rows)]


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


# What is said about it


def test_only_what_happened_between_its_traps_is_counted(tmp_path: Path) -> None:
    """The first trap's guest time and exits are from before the loop, in every stretch of it."""
    rows = at(at(loop(40), 0, guest_ns=500 * MS, exits=900), 20, guest_ns=2 * TICK, exits=70)
    numbers = one(tmp_path, rows).numbers
    assert numbers["loops"] == 2
    assert (numbers["exits"], numbers["guest_ns"], numbers["watched_traps"]) == (38, 38 * 6_000, 38)


def test_exits_that_were_not_watched_are_not_counted(tmp_path: Path) -> None:
    blind = EARLY & ~FLAGS["EXITS_WATCHED"] | GUEST
    rows = [row | {"flags": blind, "exits": 77} if index < 10 else row for index, row in enumerate(loop(30))]
    numbers = one(tmp_path, rows).numbers
    assert (numbers["exits"], numbers["guest_ns"], numbers["watched_traps"]) == (20, 20 * 6_000, 20)
    numbers = one(tmp_path, loop(30, flags=blind)).numbers
    assert (numbers["exits"], numbers["guest_ns"], numbers["watched_traps"]) == (None, None, 0)


def test_the_threads_other_traps_from_first_to_last_are_counted(tmp_path: Path) -> None:
    outside = [served(0), served(900 * MS)]
    between = [served(60 * MS, rip=OTHER_RIP), early(75 * MS, rip=OTHER_RIP)]
    rows = [*outside, *loop(40, 20 * MS), *between, *loop(40, 80 * MS), served(65 * MS, tid=999)]
    numbers = one(tmp_path, rows).numbers
    assert (numbers["traps"], numbers["early_returns"]) == (82, 81)
    assert (numbers["penalties_served"], numbers["detection_off"]) == (1, 1)


@pytest.mark.parametrize(
    ("fields", "penalties", "off"),
    [
        ({}, 1, 1),
        ({"semaphore_result": -4, "flags": EARLY | FLAGS["WAITED"] | GUEST}, 0, 0),
        ({"flags": synthetic.UNPUNISHED | GUEST}, 0, 1),
    ],
    ids=["served", "interrupted at the semaphore", "unpunished"],
)
def test_a_penalty_is_served_when_slept_and_waited_for(
    tmp_path: Path, fields: dict[str, Any], penalties: int, off: int
) -> None:
    rows = [*loop(30), served(40 * MS, **fields), *loop(30, 60 * MS)]
    numbers = one(tmp_path, rows).numbers
    assert (numbers["penalties_served"], numbers["detection_off"]) == (penalties, off)


def test_median_of_the_sleep(tmp_path: Path) -> None:
    rows = [row | {"sleep_ns": 5 * MS if index < 14 else MS} for index, row in enumerate(loop(30))]
    assert one(tmp_path, rows).numbers["slept_median_ns"] == MS


def test_the_vcpu_is_known_as_soon_as_one_trap_knows_it(tmp_path: Path) -> None:
    assert one(tmp_path, loop(30, vcpu=-1)).subject.vcpu is None
    rows = [row | {"vcpu": -1 if index < 29 else 3} for index, row in enumerate(loop(30))]
    assert one(tmp_path, rows).subject.vcpu == 3


def test_a_programs_own_split_lock(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(30, flags=EARLY, vcpu=-1, guest_ns=0, exits=0))
    assert finding.numbers["guest"] is False
    words = " ".join(remedy.what for remedy in finding.remedies)
    assert "In the program: leave more than 12 ms" in words
    assert "In the program: align" in words
    assert "guest" not in words
    assert "VMM" not in words


# The signal


def test_the_signal_that_ended_most_of_the_sleeps(tmp_path: Path) -> None:
    rows = [
        row | ({"signal": SIGIO, "signal_code": int(Code.SI_KERNEL)} if index % 3 == 0 else {})
        for index, row in enumerate(loop(30))
    ]
    numbers = one(tmp_path, rows).numbers
    assert (numbers["signal"], numbers["signal_code"]) == (SIGUSR1, Code.SI_TIMER)
    assert numbers["signal_seen"] == 20
    # Every third is another's: gaps of 1 and 2 ms in turn, the median between them.
    assert numbers["period_ns"] == MS
    assert numbers["period_spread_ns"] == MS


@pytest.mark.parametrize(
    "other",
    [
        {"signal_tid": 77, "signal_tgid": 70, "signal_code": int(Code.SI_TKILL)},
        {"signal_tid": 78, "signal_tgid": 70, "signal_code": int(Code.SI_TKILL)},
        {"signal_tid": 77, "signal_tgid": 71, "signal_code": int(Code.SI_TKILL)},
        {"signal_code": int(Code.SI_KERNEL)},
        {"flags": EARLY | GUEST | FLAGS["SIGNAL_GROUP"]},
        {"signal": SIGALRM},
    ],
    ids=["sender", "other thread", "other process", "code", "group", "number"],
)
def test_one_signal_from_two_sources_is_two(tmp_path: Path, other: dict[str, Any]) -> None:
    rows = [row | other if index < 20 else row for index, row in enumerate(loop(30))]
    numbers = one(tmp_path, rows).numbers
    assert numbers["signal_seen"] == 20
    for name in ("signal", "signal_code", "signal_tgid", "signal_tid"):
        assert numbers[name] == other.get(name, rows[-1].get(name, 0))
    assert numbers["signal_group"] == ("flags" in other)
    rows = [row | other if index >= 20 else row for index, row in enumerate(loop(30))]
    assert one(tmp_path, rows).numbers["signal_group"] == 0


def test_of_two_signals_as_frequent_the_first_is_named(tmp_path: Path) -> None:
    rows = [row | {"signal": (SIGIO, SIGUSR1)[index % 2]} for index, row in enumerate(loop(30))]
    assert one(tmp_path, rows).numbers["signal"] == SIGIO


def test_a_signal_that_nobody_saw(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(30, signal=0, signal_code=0, signal_ns=0))
    numbers = finding.numbers
    assert [numbers[name] for name in ("signal", "signal_code", "signal_tgid", "signal_tid")] == [None] * 4
    assert (numbers["signal_group"], numbers["period_ns"], numbers["period_spread_ns"]) == (None,) * 3
    assert numbers["signal_seen"] == 0
    assert "Something that sends no signal" in finding.cause


def test_one_signal_has_no_period(tmp_path: Path) -> None:
    rows = at(loop(30, signal=0, signal_code=0, signal_ns=0), 7, signal=SIGALRM, signal_ns=START_NS + 8 * MS)
    numbers = one(tmp_path, rows).numbers
    assert (numbers["signal"], numbers["signal_seen"]) == (SIGALRM, 1)
    assert (numbers["period_ns"], numbers["period_spread_ns"]) == (None, None)


def test_the_period_leaves_out_the_time_between_the_stretches(tmp_path: Path) -> None:
    rows = [row for index in range(8) for row in lasting(18 * MS, 3, index * 200 * MS)]
    apart = [row | {"guest_ns": TICK} if index % 3 == 0 else row for index, row in enumerate(rows)]
    numbers = one(tmp_path, apart).numbers
    assert numbers["loops"] == 8
    assert (numbers["period_ns"], numbers["period_spread_ns"]) == (6 * MS, 0)


def test_quartiles_of_the_period(tmp_path: Path) -> None:
    times = [0]
    for gap in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        times.append(times[-1] + gap * MS)
    numbers = one(tmp_path, [early(time) for time in times]).numbers
    assert (numbers["period_ns"], numbers["period_spread_ns"]) == (5 * MS, 4 * MS)


@pytest.mark.parametrize(
    ("code", "word"),
    [(Code.SI_TIMER, "timers"), (Code.SI_KERNEL, "timers"), (Code.SI_TKILL, "signals"), (0, "signals")],
)
def test_the_advice_names_what_to_change(tmp_path: Path, code: int, word: str) -> None:
    finding = one(tmp_path, loop(30, signal_code=int(code)))
    assert finding.cause.count("SIGUSR1 cut the sleep short, after a median of 0.95 ms") == 1
    assert f"leave more than 12 ms between the {word} that reach this thread" in finding.remedies[0].what
    assert "nothing gets through at 8 ms or less, everything does above 12 ms" in finding.remedies[0].what


# What to change


def commands(finding: Finding) -> list[str | None]:
    return [remedy.command for remedy in finding.remedies]


@pytest.mark.parametrize(("mitigate", "offered"), [(1, True), (0, False), (None, False)])
def test_the_sysctl_is_advised_where_it_would_help(
    tmp_path: Path, mitigate: int | None, offered: bool
) -> None:
    finding = one(tmp_path, loop(30), opening=facts(split_lock={"mitigate": mitigate}))
    assert ("sysctl kernel.split_lock_mitigate=0" in commands(finding)) == offered
    assert len(finding.remedies) == 3 + offered
    assert all(remedy.what and remedy.price for remedy in finding.remedies)


def test_a_recording_without_facts_advises_no_sysctl_that_may_not_exist(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(30), opening={}, ended={})
    assert commands(finding) == [None, None, "split_lock_detect=off on the kernel's command line"]
    assert finding.numbers["sleep_longest_ns"] == 20 * MS


@pytest.mark.parametrize(("release", "late"), [("6.14.11", True), ("6.15.0", False)])
def test_the_price_of_the_sysctl_depends_on_the_kernel(tmp_path: Path, release: str, late: bool) -> None:
    finding = one(tmp_path, loop(30), opening=facts(kernel={"release": release}))
    price = next(remedy.price for remedy in finding.remedies if remedy.command and "sysctl" in remedy.command)
    assert ("before 6.15 detection may come back late" in price) == late


def test_the_cause_gives_the_length_of_the_penalty(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(30), opening=facts(kernel={"release": "6.1.0-44-amd64", "tick_ns": MS}))
    assert "to sleep for 11 to 12 ms and then lets it run" in finding.cause


def test_the_declared_needs_are_kinds_of_record() -> None:
    for kind in early_return_loop.NEEDS:
        assert frames.columns(kind)
