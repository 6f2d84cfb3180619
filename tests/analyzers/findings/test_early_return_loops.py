"""What is said about an early-return loop: its numbers, the signal, the cause and the remedies."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import early_return_loops
from sldtrace.analyzers.progress import ProgressNumbers
from sldtrace.dataset import frames
from sldtrace.host.signals import Code
from tests.analyzers.shorthands import OTHER_RIP, at, find, one, said, signal_of, subject_of
from tests.analyzers.synthetic import (
    COMPLETED,
    EARLY,
    FLAGS,
    GUEST,
    MS,
    RIP,
    SIGALRM,
    SIGIO,
    SIGPROF,
    SIGUSR1,
    SIGVTALRM,
    SPAN_NS,
    START_NS,
    TICK,
    Row,
    completed,
    early,
    facts,
    interrupted,
    loop,
    not_penalized,
    window,
)

UNWATCHED = COMPLETED & ~FLAGS["MSR_WATCHED"] & ~FLAGS["MSR_CLEARED"] | GUEST

# Numbers


def ran(found: ProgressNumbers) -> tuple[int | None, int | None, int]:
    """What the guest did between the traps."""
    return found.exits, found.guest_ns, found.watched_traps


def test_only_what_happened_between_its_traps_is_counted(tmp_path: Path) -> None:
    """The first trap's guest time and exits are from before the loop, in every stretch of it."""
    rows = at(at(loop(40), 0, guest_ns=500 * MS, exits=900), 20, guest_ns=2 * TICK, exits=70)
    opened = window(20 * MS - 20_000, 20 * MS - 10_000)
    numbers = one(tmp_path, rows, detection=opened).numbers
    assert numbers.loops == 2
    assert ran(numbers.progress) == (38, 38 * 6_000, 38)


def test_exits_that_were_not_watched_are_not_counted(tmp_path: Path) -> None:
    blind = EARLY & ~FLAGS["EXITS_WATCHED"] | GUEST
    rows = [row | {"flags": blind, "exits": 77} if index < 10 else row for index, row in enumerate(loop(30))]
    numbers = one(tmp_path, rows).numbers
    assert ran(numbers.progress) == (20, 20 * 6_000, 20)
    numbers = one(tmp_path, loop(30, flags=blind)).numbers
    assert ran(numbers.progress) == (None, None, 0)


def test_the_threads_other_traps_from_first_to_last_are_counted(tmp_path: Path) -> None:
    outside = [completed(0), completed(900 * MS)]
    between = [completed(70 * MS, rip=OTHER_RIP), early(85 * MS, rip=OTHER_RIP)]
    stranger = completed(65 * MS, tid=999, start_cpu=1)
    namesake = completed(66 * MS, tgid=999, start_cpu=1)
    rows = [*outside, *loop(40, 30 * MS), *between, *loop(40, 100 * MS), stranger, namesake]
    numbers = one(tmp_path, rows).numbers
    assert (numbers.traps, numbers.early_returns, numbers.progress.detection_off) == (82, 81, 1)


@pytest.mark.parametrize(
    ("trap", "detection_off", "semaphore"),
    [
        (completed(40 * MS), 1, 0),
        (not_penalized(40 * MS), 1, 0),
        (interrupted(40 * MS), 0, 1),
        (interrupted(40 * MS, rip=OTHER_RIP), 0, 1),
        (completed(40 * MS, flags=UNWATCHED), 1, 0),
        (completed(40 * MS, flags=UNWATCHED | FLAGS["RETURN_MISSED"]), 0, 0),
        (completed(40 * MS, flags=FLAGS["MSR_WATCHED"] | GUEST), 0, 0),
    ],
    ids=["completed", "not_penalized", "semaphore", "elsewhere", "unwatched", "missed", "fatal"],
)
def test_traps_between_that_were_released_and_those_that_the_semaphore_cut_short(
    tmp_path: Path, trap: Row, detection_off: int, semaphore: int
) -> None:
    numbers = one(tmp_path, [*loop(30), trap, *loop(30, 60 * MS)]).numbers
    assert (numbers.progress.detection_off, numbers.semaphore_early_returns) == (detection_off, semaphore)
    assert (numbers.traps, numbers.early_returns) == (61, 60 + semaphore)


def test_median_of_the_sleep(tmp_path: Path) -> None:
    rows = [row | {"sleep_ns": 5 * MS if index < 14 else MS} for index, row in enumerate(loop(30))]
    assert one(tmp_path, rows).numbers.slept_median_ns == MS


def test_the_vcpu_is_known_as_soon_as_one_trap_knows_it(tmp_path: Path) -> None:
    assert subject_of(one(tmp_path, loop(30, vcpu=-1))).vcpu is None
    rows = [row | {"vcpu": -1 if index < 29 else 3} for index, row in enumerate(loop(30))]
    assert subject_of(one(tmp_path, rows)).vcpu == 3


def test_a_programs_own_split_lock(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(30, flags=EARLY, vcpu=-1, guest_ns=0, exits=0))
    assert finding.numbers.guest is False
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
    assert (signal_of(numbers).number, signal_of(numbers).code) == (SIGUSR1, Code.SI_TIMER)
    assert signal_of(numbers).ended == 20
    # Every third is another's: what counts is the time between two of the same in a row.
    assert (signal_of(numbers).period_ns, signal_of(numbers).period_spread_ns) == (MS, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"sender_tid": 77, "sender_tgid": 70, "signal_code": int(Code.SI_TKILL)},
        {"sender_tid": 78, "sender_tgid": 70, "signal_code": int(Code.SI_TKILL)},
        {"sender_tid": 77, "sender_tgid": 71, "signal_code": int(Code.SI_TKILL)},
        {"signal_code": int(Code.SI_KERNEL)},
        {"flags": EARLY | GUEST | FLAGS["SIGNAL_GROUP"]},
        {"signal": SIGALRM},
    ],
    ids=["sender", "other thread", "other process", "code", "group", "number"],
)
def test_one_signal_from_two_sources_is_two(tmp_path: Path, other: dict[str, Any]) -> None:
    rows = [row | other if index < 20 else row for index, row in enumerate(loop(30))]
    numbers = one(tmp_path, rows).numbers
    assert signal_of(numbers).ended == 20
    fields = {
        "number": "signal",
        "code": "signal_code",
        "sender_tgid": "sender_tgid",
        "sender_tid": "sender_tid",
    }
    for name, field in fields.items():
        assert getattr(numbers.signal, name) == other.get(field, rows[-1].get(field, 0))
    assert signal_of(numbers).to_process == ("flags" in other)
    rows = [row | other if index >= 20 else row for index, row in enumerate(loop(30))]
    assert signal_of(one(tmp_path, rows).numbers).to_process is False


def test_of_two_signals_as_frequent_the_first_is_named(tmp_path: Path) -> None:
    rows = [row | {"signal": (SIGIO, SIGUSR1)[index % 2]} for index, row in enumerate(loop(30))]
    assert signal_of(one(tmp_path, rows).numbers).number == SIGIO


def test_a_signal_that_was_not_seen(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(30, signal=0, signal_code=0, signal_ns=0))
    assert finding.numbers.signal is None
    assert "unknown 30 (100 %)" in [fact.text for fact in finding.facts]
    assert "Something ended the sleep early" in finding.cause
    assert "It is not known what ended it: signals could not be watched." in finding.cause


@pytest.mark.parametrize(
    ("name", "backend", "watched"),
    [
        ("signal:signal_generate", "tracepoint", True),
        ("signal:signal_generate", "raw_tracepoint", True),
        ("signal:signal_generate", "", False),
        ("signal:signal_deliver", "tracepoint", False),
    ],
)
def test_no_signal_says_something_only_if_signals_were_watched(
    tmp_path: Path, name: str, backend: str, watched: bool
) -> None:
    opening = facts() | {"probes": [{"name": name, "backend": backend, "detail": ""}]}
    cause = one(tmp_path, loop(30, signal=0, signal_code=0, signal_ns=0), opening=opening).cause
    assert ("no signal was seen. ptrace, a freezer, a live patch and task work" in cause) == watched
    assert ("signals could not be watched" in cause) != watched
    assert "SIGUSR1 ended the sleep early" in one(tmp_path, loop(30), opening=opening).cause


def test_a_signal_that_ended_one_of_many_is_not_the_cause(tmp_path: Path) -> None:
    rows = at(loop(30, signal=0, signal_code=0, signal_ns=0), 7, signal=SIGALRM, signal_ns=START_NS + 8 * MS)
    numbers = one(tmp_path, rows).numbers
    assert [(each.cause, each.signal, each.ended) for each in numbers.ended_by] == [
        ("not_read", None, 29),
        ("signal", SIGALRM, 1),
    ]
    assert (numbers.signal, numbers.least_period_ns) == (None, None)


def test_the_period_is_that_of_most_signals_also_between_addresses(tmp_path: Path) -> None:
    turns = [row | {"rip": (RIP, OTHER_RIP)[index % 2]} for index, row in enumerate(loop(60))]
    for finding in find(tmp_path, turns):
        assert (signal_of(finding.numbers).period_ns, signal_of(finding.numbers).period_spread_ns) == (MS, 0)
        assert signal_of(finding.numbers).ended == 59
    stretches = [*loop(30), completed(30 * MS), *loop(30, 60 * MS)]
    numbers = one(tmp_path, stretches).numbers
    assert (numbers.loops, signal_of(numbers).period_ns, signal_of(numbers).period_spread_ns) == (2, MS, 0)


def test_what_is_between_two_loops_is_not_in_them(tmp_path: Path) -> None:
    """Another thread's penalty switches detection off there."""
    off = window(61 * MS, 72 * MS)
    for rows, writes, words in (
        (loop(60), [], "none: "),
        (loop(60) + loop(60, 80 * MS), off, "none in the "),
    ):
        (text,) = [
            fact.text for fact in one(tmp_path, rows, detection=writes).facts if fact.label == "progress"
        ]
        assert text.startswith(words)


def test_quartiles_of_the_period(tmp_path: Path) -> None:
    times = [0]
    for gap in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        times.append(times[-1] + gap * MS)
    numbers = one(tmp_path, [early(time) for time in times]).numbers
    assert (signal_of(numbers).period_ns, signal_of(numbers).period_spread_ns) == (5 * MS, 4 * MS)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (SIGUSR1, Code.SI_TIMER, "timers"),
        (SIGALRM, Code.SI_KERNEL, "timers"),
        (SIGVTALRM, Code.SI_KERNEL, "timers"),
        (SIGPROF, Code.SI_KERNEL, "timers"),
        (SIGIO, Code.SI_KERNEL, "signals"),
        (SIGUSR1, Code.SI_KERNEL, "signals"),
        (SIGUSR1, Code.SI_TKILL, "signals"),
        (SIGUSR1, 0, "signals"),
    ],
)
def test_the_advice_names_what_to_change(tmp_path: Path, number: int, code: int, word: str) -> None:
    finding = one(tmp_path, loop(30, signal=number, signal_code=int(code)))
    name = {SIGUSR1: "SIGUSR1", SIGALRM: "SIGALRM", SIGVTALRM: "SIGVTALRM", SIGPROF: "SIGPROF"}
    sentence = f"{name.get(number, 'SIGIO')} ended the sleep early, after a median of 0.95 ms"
    assert finding.cause.count(sentence) == 1
    advice = finding.remedies[1]
    assert f"leave more than 12 ms between the {word} that reach this thread" in advice.what
    assert f"the work of the {word[:-1]} is done later" in advice.cost
    assert (
        "every penalty completes above 12 ms, none at 8 ms or less, and chance decides in between"
        in advice.what
    )


@pytest.mark.parametrize(
    ("release", "sentence"),
    [
        ("6.12.48", "every penalty completes above 10 ms, chance decides in between."),
        ("6.11.9", "every penalty completes above 20 ms, none at 10 ms or less, and chance decides in"),
    ],
)
def test_at_100_hz_no_period_is_too_short_to_get_through_by_luck(
    tmp_path: Path, release: str, sentence: str
) -> None:
    opening = facts(kernel={"release": release, "tick_ns": 10 * MS})
    assert sentence in one(tmp_path, loop(40), opening=opening).remedies[1].what


# What to change


def commands(finding: Finding[Any]) -> list[str | None]:
    return [remedy.command for remedy in finding.remedies]


@pytest.mark.parametrize(("mitigate", "offered"), [(1, True), (0, False), (None, False)])
def test_the_sysctl_is_advised_where_it_would_help(
    tmp_path: Path, mitigate: int | None, offered: bool
) -> None:
    finding = one(tmp_path, loop(30), opening=facts(split_lock={"mitigate": mitigate}))
    assert ("sysctl kernel.split_lock_mitigate=0" in commands(finding)) == offered
    assert len(finding.remedies) == 3 + offered
    assert all(remedy.what and remedy.cost for remedy in finding.remedies)


def test_a_recording_without_facts_advises_no_sysctl_that_may_not_exist(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(30), opening={}, ended={})
    assert commands(finding) == [None, None, "split_lock_detect=off on the kernel's command line"]
    assert finding.numbers.sleep_longest_ns == 20 * MS


@pytest.mark.parametrize(("release", "late"), [("6.14.11", True), ("6.15.0", False)])
def test_the_cost_of_the_sysctl_depends_on_the_kernel(tmp_path: Path, release: str, late: bool) -> None:
    finding = one(tmp_path, loop(30), opening=facts(kernel={"release": release}))
    cost = next(remedy.cost for remedy in finding.remedies if remedy.command and "sysctl" in remedy.command)
    assert ("detection may come back late on other CPUs" in cost) == late


def test_the_cause_gives_the_length_of_the_penalty(tmp_path: Path) -> None:
    finding = one(tmp_path, loop(30), opening=facts(kernel={"release": "6.1.0-44-amd64", "tick_ns": MS}))
    assert "penalty for a split lock is a sleep of 11 to 12 ms; then the thread continues" in finding.cause


@pytest.mark.parametrize(("release", "known"), [("6.12.48", True), ("unknown", False)])
def test_a_length_that_is_assumed_is_said_to_be(tmp_path: Path, release: str, known: bool) -> None:
    cause = one(tmp_path, loop(30), opening=facts(kernel={"release": release})).cause
    assert ("is assumed: the kernel's version is not known" in cause) != known


def test_the_declared_needs_are_kinds_of_record() -> None:
    for kind in early_return_loops.KINDS:
        assert all(frames.columns(record) for record in kind.needs.records)


@pytest.mark.parametrize(("waits", "kind"), [(50, "early-return-loop"), (51, "semaphore-early-return")])
def test_most_early_returns_decide_where_the_loop_is(tmp_path: Path, waits: int, kind: str) -> None:
    rows = [*loop(100 - waits), *(interrupted((100 - waits + index) * MS) for index in range(waits))]
    assert [finding.kind for finding in find(tmp_path, rows)] == [kind]


def test_the_cause_is_in_the_tense_of_its_time(tmp_path: Path) -> None:
    past, present = one(tmp_path, loop(200)), one(tmp_path, loop(200, SPAN_NS - 200 * MS))
    assert (past.ongoing, present.ongoing) == (False, True)
    assert "The kernel then returned with detection still on, and the same instruction trapped" in past.cause
    assert "The kernel then returns with detection still on, and the same instruction traps" in present.cause
    assert past.headline == "did not get past guest address 0x7c40 for 200 ms"
    assert present.headline == "does not get past guest address 0x7c40"
    assert "then" in [fact.label for fact in past.facts]
    assert "then" not in [fact.label for fact in present.facts]


def test_a_programs_loop_is_in_the_tense_of_its_time_too(tmp_path: Path) -> None:
    flags = EARLY & ~GUEST
    past = one(tmp_path, loop(200, flags=flags))
    present = one(tmp_path, loop(200, SPAN_NS - 200 * MS, flags=flags))
    words = "the program's signal handler, and the program"
    assert f"The kernel ran {words} executed the same instruction" in past.cause
    assert f"The kernel runs {words} executes the same instruction" in present.cause


def test_the_remedies_of_each_kind(tmp_path: Path) -> None:
    in_sleep = one(tmp_path, loop(200))
    at_semaphore = one(tmp_path, [interrupted(at * MS) for at in range(200)])
    in_program = one(tmp_path, loop(200, flags=EARLY & ~GUEST))
    where = ["On the host", "In the VMM", "In the guest", "On the host"]
    assert said(in_sleep)["remedies"] == where
    assert said(in_program)["remedies"] == ["On the host", "In the program", "In the program", "On the host"]
    assert said(at_semaphore)["remedies"][:2] == [
        "On the host",
        "Place the VMs that take split locks on different hosts",
    ]
    assert said(at_semaphore)["remedies"][-2:] == ["In the guest", "On the host"]


def test_the_time_in_loops_is_said_of_several(tmp_path: Path) -> None:
    labels = [fact.label for fact in one(tmp_path, loop(200)).facts]
    assert "in loops" not in labels
    rows = [*loop(200), completed(200 * MS + 4 * TICK), *loop(200, 2_000 * MS)]
    finding = one(tmp_path, rows)
    (text,) = (fact.text for fact in finding.facts if fact.label == "in loops")
    assert text.endswith("in 2 stretches, the longest 200 ms")
