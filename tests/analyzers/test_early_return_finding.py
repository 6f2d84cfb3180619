"""What is said about an early-return loop: its numbers, the signal, the cause and the remedies."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace import frames
from sldtrace.analyzers import early_return_loop
from sldtrace.analyzers.finding import Finding
from sldtrace.host.signals import Code
from tests.analyzers import synthetic
from tests.analyzers.shorthands import OTHER_RIP, at, one
from tests.analyzers.synthetic import (
    EARLY,
    FLAGS,
    GUEST,
    MS,
    SIGALRM,
    SIGIO,
    SIGUSR1,
    START_NS,
    TICK,
    early,
    facts,
    lasting,
    loop,
    served,
)

# Numbers


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
