"""What ended the early returns: each cause with its share, in words and with remedies that fit."""

from pathlib import Path
from signal import SIGRTMIN
from types import SimpleNamespace
from typing import Any

import pytest

from sldtrace.analyzers import endings
from sldtrace.analyzers.endings import EndedBy
from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.loops import LoopNumbers
from sldtrace.model.penalty import for_kernel
from tests.analyzers.shorthands import one, signal_of
from tests.analyzers.synthetic import (
    EARLY,
    FACTS,
    FLAGS,
    GUEST,
    MS,
    SIGALRM,
    SIGUSR1,
    TICK,
    Row,
    loop,
    signalled,
)

READ = EARLY | GUEST | FLAGS["PENDING_READ"]
NONE = {"signal": 0, "signal_code": 0, "signal_ns": 0}
WATCHED = [*FACTS["probes"], {"name": "signal:signal_generate", "backend": "raw_tracepoint", "detail": ""}]


def without_signal(count: int, at_ns: int = 0, *flags: str) -> list[Row]:
    """Early returns of which the flags say why."""
    return loop(count, at_ns, flags=READ | sum(FLAGS[name] for name in flags), **NONE)


def found(folder: Path, rows: list[Row], **rest: Any) -> Finding[LoopNumbers]:
    return one(folder, rows, opening=FACTS | {"probes": WATCHED}, **rest)


def facts_of(finding: Finding[LoopNumbers]) -> dict[str, str]:
    return {fact.label: fact.text for fact in finding.facts}


@pytest.mark.parametrize(
    ("flags", "cause", "words", "remedy"),
    [
        (("PTRACE",), "ptrace", "A tracer that stops the thread (ptrace) ended", "TracerPid"),
        (("FREEZER",), "freezer", "The cgroup freezer ended", "/cgroup"),
        (
            ("GROUP_STOP",),
            "group_stop",
            "A stop of the whole process (SIGSTOP or job control) ended",
            "SIGSTOP",
        ),
        (("TASK_WORK",), "task_work", "Task work, which has no signal (of io_uring,", "DEFER_TASKRUN"),
        (("TASK_WORK", "FREEZER"), "freezer", "The cgroup freezer ended", "/cgroup"),
        (("LIVEPATCH",), "livepatch", "A live patch that is being applied", "transition"),
        (("SIGNAL_PENDING", "LIVEPATCH"), "signal", "A signal of which no more is known", "sched_waking"),
        ((), "nothing_pending", "cgroup v1, a suspend of the host", "sched_waking"),
    ],
)
def test_what_is_no_signal_is_distinguished(
    tmp_path: Path, flags: tuple[str, ...], cause: str, words: str, remedy: str
) -> None:
    finding = found(tmp_path, without_signal(200, 0, *flags))
    assert finding.numbers.ended_by == (EndedBy(cause, None, 200),)
    assert finding.numbers.signal is None
    assert words in finding.cause
    second = finding.remedies[1]
    assert remedy in f"{second.what} {second.command}"
    assert "io_uring" not in finding.cause or cause == "task_work"
    assert "signal" not in facts_of(finding)


def test_the_cause_of_most_is_named_and_a_signal_that_ended_one_is_not(tmp_path: Path) -> None:
    rows = [*without_signal(192, 0, "PTRACE"), *loop(1, 192 * MS, signal=SIGALRM, flags=READ)]
    finding = found(tmp_path, rows)
    assert finding.numbers.ended_by == (EndedBy("ptrace", None, 192), EndedBy("signal", SIGALRM, 1))
    assert (finding.numbers.signal, finding.numbers.least_period_ns) == (None, None)
    assert facts_of(finding)["ended by"] == "ptrace 192 (99.5 %), SIGALRM 1 (0.52 %)"
    assert "(ptrace) ended the sleep early in 99.5 % of the early returns, SIGALRM 0.52 %," in finding.cause
    assert not any("between the" in remedy.what for remedy in finding.remedies)


def test_each_signal_with_a_large_share_is_named_with_its_source(tmp_path: Path) -> None:
    """Three of five by one, two by another: a longer period of the first alone would change nothing."""
    rows = loop(200, flags=READ)
    for index, row in enumerate(rows):
        if index % 5 > 2:
            row |= {"signal": SIGALRM, "signal_code": 0, "sender_tgid": 7, "sender_tid": 7}
    finding = found(tmp_path, [*rows, *loop(2, 200 * MS, signal=SIGRTMIN, flags=READ)])
    (other,) = finding.numbers.other_signals
    assert (signal_of(finding.numbers).number, signal_of(finding.numbers).ended) == (SIGUSR1, 120)
    assert (other.number, other.ended, other.sender_tid) == (SIGALRM, 80, 7)
    assert "SIGUSR1 ended the sleep early in 59.4 % of the early returns, SIGALRM 39.6 %" in finding.cause
    assert "The source of SIGUSR1 was a POSIX timer (timer_create), every" in finding.cause
    assert "The source of SIGALRM was kill, sent by PID 7, TID 7, every" in finding.cause
    assert [fact.text.split(" ")[0] for fact in finding.facts if fact.label == "signal"] == [
        "SIGUSR1",
        "SIGALRM",
    ]
    assert "between the signals that reach this thread" in finding.remedies[1].what


@pytest.mark.parametrize("to_process", [True, False])
def test_a_signal_to_the_process_can_be_left_to_another_thread(tmp_path: Path, to_process: bool) -> None:
    flags = READ | (FLAGS["SIGNAL_GROUP"] if to_process else 0)
    remedy = found(tmp_path, loop(200, flags=flags)).remedies[1].what
    assert remedy.endswith("Or block them in this thread, if another one can take them.") == to_process


def test_a_signal_beside_what_is_none_has_its_source_and_a_remedy_too(tmp_path: Path) -> None:
    rows = [*without_signal(120, 0, "FREEZER"), *loop(80, 120 * MS, flags=READ)]
    finding = found(tmp_path, rows)
    assert finding.numbers.signal is None
    assert [each.number for each in finding.numbers.other_signals] == [SIGUSR1]
    assert "The cgroup freezer ended the sleep early in 60 %" in finding.cause
    assert "The source of SIGUSR1 was a POSIX timer (timer_create), every" in finding.cause
    assert "between the timers that reach this thread" in finding.remedies[1].what
    assert "/cgroup" in f"{finding.remedies[2].command}"


def test_what_is_not_known_has_its_share(tmp_path: Path) -> None:
    rows = [*loop(120, flags=READ), *without_signal(80, 120 * MS)]
    finding = found(tmp_path, rows)
    assert signal_of(finding.numbers).number == SIGUSR1
    assert facts_of(finding)["ended by"] == "SIGUSR1 120 (60 %), unknown 80 (40 %)"
    assert facts_of(finding)["signal"].endswith("it ended 120 of the sleeps")
    assert "It is not known what ended it in 40 %: nothing was pending" in finding.cause
    assert [remedy.what.split(":")[0] for remedy in finding.remedies[1:3]] == ["In the VMM", "On the host"]
    assert "find what wakes this thread" in finding.remedies[2].what


def test_a_blocked_signal_is_not_the_cause_however_often_it_comes(tmp_path: Path) -> None:
    sent = [signalled(index * MS // 3, signal=35, flags=1) for index in range(600)]
    finding = found(tmp_path, loop(200, signal=SIGALRM, flags=READ), more={"signal": sent})
    assert finding.numbers.ended_by == (EndedBy("signal", SIGALRM, 200),)
    assert "SIGRTMIN" not in finding.cause
    assert "ended by" not in facts_of(finding)


def test_two_senders_of_one_signal_are_one_cause(tmp_path: Path) -> None:
    rows = [*loop(100, sender_tid=7, sender_tgid=7), *loop(90, 100 * MS, signal=SIGALRM)]
    rows += loop(30, 190 * MS, sender_tid=8, sender_tgid=8)
    numbers = found(tmp_path, rows).numbers
    assert numbers.ended_by == (EndedBy("signal", SIGUSR1, 130), EndedBy("signal", SIGALRM, 90))
    assert (signal_of(numbers).sender_tid, signal_of(numbers).ended) == (7, 100)


def test_where_nothing_was_read_it_says_so(tmp_path: Path) -> None:
    finding = found(tmp_path, loop(200, **NONE))
    assert finding.numbers.ended_by == (EndedBy("not_read", None, 200),)
    assert "this recording does not tell them apart" in finding.cause
    assert facts_of(finding)["ended by"] == "unknown 200 (100 %)"


def test_where_signals_were_not_watched_it_says_so(tmp_path: Path) -> None:
    assert "signals could not be watched" in one(tmp_path, loop(200, **NONE)).cause


def test_a_programs_handler_does_not_run_without_a_signal(tmp_path: Path) -> None:
    rows = [row | {"flags": row["flags"] & ~GUEST} for row in without_signal(200, 0, "FREEZER")]
    finding = found(tmp_path, rows)
    assert finding.kind == "user-space-split-lock"
    assert "handler" not in finding.cause
    assert "the program's cgroup" in finding.remedies[2].what


def causes(**ended: int) -> tuple[EndedBy, ...]:
    """By the name of the cause, SIGn for a signal."""
    return tuple(
        EndedBy("signal", int(name[3:]), count) if name.startswith("SIG") else EndedBy(name, None, count)
        for name, count in ended.items()
    )


def text_of(found: tuple[EndedBy, ...]) -> str:
    watched: Any = SimpleNamespace(probes=[("signal:signal_generate", "raw_tracepoint")])
    return endings.sentences(watched, found, "the sleep", " so", "ended")


@pytest.mark.parametrize(("unknown", "why"), [(10, True), (9, False)])
def test_why_it_is_not_known_is_said_from_a_tenth_on(unknown: int, why: bool) -> None:
    text = text_of(causes(SIG10=100 - unknown, nothing_pending=unknown))
    assert text.startswith(f"SIGUSR1 ended the sleep early in {100 - unknown} % of the early returns so.")
    assert f"It is not known what ended it in {unknown} %" in text
    assert ("nothing was pending" in text) is why


def test_the_first_two_causes_are_named() -> None:
    text = text_of(causes(ptrace=60, SIG10=30, freezer=10))
    assert text == (
        "A tracer that stops the thread (ptrace) ended the sleep early in 60 % of the early returns, "
        "SIGUSR1 30 % so."
    )
    assert text_of(causes(ptrace=1)) == "A tracer that stops the thread (ptrace) ended the sleep early so."


def test_of_many_causes_four_are_listed() -> None:
    found = causes(ptrace=50, freezer=20, SIG10=10, SIG14=8, group_stop=7, task_work=5)
    (fact,) = endings.fact(found)
    assert fact.text == (
        "ptrace 50 (50 %), the cgroup freezer 20 (20 %), SIGUSR1 10 (10 %), SIGALRM 8 (8 %), 12 by others"
    )
    assert "others" not in endings.fact(found[:4])[0].text
    assert endings.fact(causes(SIG10=5)) == []
    assert [each.text for each in endings.fact(causes(ptrace=5))] == ["ptrace 5 (100 %)"]


@pytest.mark.parametrize(("ended", "count"), [(10, 1), (9, 0)])
def test_a_cause_has_a_remedy_from_a_tenth_on(ended: int, count: int) -> None:
    penalty = for_kernel("6.12", TICK)
    found = endings.remedies(causes(SIG10=100 - ended, freezer=ended), penalty, True, 7, 8)
    assert len(found) == count


def test_what_is_not_known_has_one_remedy() -> None:
    penalty = for_kernel("6.12", TICK)
    found = endings.remedies(causes(not_read=50, nothing_pending=30, ptrace=20), penalty, False, 7, 8)
    assert [str(remedy.command).split()[0] for remedy in found] == ["perf", "grep"]
    assert "/proc/8/status" in str(found[1].command)
    (frozen,) = endings.remedies(causes(freezer=1), penalty, False, 7, 8)
    assert "the program's cgroup" in frozen.what
    assert "/proc/7/cgroup" in str(frozen.command)
    assert f"more than {penalty.always_completes_above_ns // MS} ms" in frozen.what
