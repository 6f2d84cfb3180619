"""The report for people: its widths, its colours, and each of the things that it may have to say."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.reporters import groups, overview, remedies
from sldtrace.reporters import report as reports
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.style import Style
from tests.analyzers.synthetic import (
    EARLY,
    FLAGS,
    GUEST,
    LONGEST,
    MS,
    SPAN_NS,
    START_NS,
    VCPU,
    VMM,
    closing,
    completed,
    early,
    facts,
    interrupted,
    lasting,
    loop,
    not_penalized,
    task,
    trace,
)
from tests.reporters import cases
from tests.reporters.rendering import built, parsed
from tests.reporters.rendering import text as render

RED, YELLOW, GREEN = "\x1b[31;1m", "\x1b[33;1m", "\x1b[32;1m"


def flowing(text: str) -> str:
    """The text with its line breaks taken out."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.parametrize("width", [64, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(name: str, width: int, tmp_path: Path) -> None:
    lines = render(cases.CASES[name](tmp_path), width).splitlines()
    assert [line for line in lines if len(line) > width] == []
    assert not any(line != line.rstrip() for line in lines)


def test_tables_fit_80_columns_with_large_numbers(tmp_path: Path) -> None:
    """A name as long as the kernel allows, TIDs of seven digits (the usual pid_max), a real-time signal."""
    tgid, tid = 4_194_303, 4_194_302
    rows = loop(
        40,
        period_ns=11_111_111,
        tgid=tgid,
        tid=tid,
        vcpu=287,
        start_cpu=127,
        exits=12_345,
        guest_ns=999_999,
        signal=62,
    )
    rows += [not_penalized(500 * MS + index, tgid=tgid, tid=tid, vcpu=287) for index in range(12_000)]
    names = [task(tid, b"CPU 287/KVM-xyz", tgid), task(tgid, b"qemu-system-x86", tgid)]
    text = render(trace(tmp_path, rows, tasks=names))
    assert "SIGRTMIN+28" in text
    assert "12,345" in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("rows", "colour"),
    [(loop(200), RED), (lasting(2 * LONGEST, 30), YELLOW), ([completed(0)], GREEN)],
    ids=["livelock", "delayed", "nothing"],
)
def test_only_the_verdict_is_coloured_and_only_on_request(tmp_path: Path, rows: Any, colour: str) -> None:
    recorded = trace(tmp_path, rows)
    plain, coloured = render(recorded), render(recorded, colour=True)
    assert "\x1b" not in plain
    titles = 1 if colour == GREEN else 2  # in the summary, and that of the finding
    assert coloured.count("\x1b[0m") == coloured.count(colour) == titles
    assert coloured.count("\x1b[") == 2 * titles
    assert coloured.replace(colour, "").replace("\x1b[0m", "") == plain


def test_a_finding_for_each_thread_and_the_worst_first(tmp_path: Path) -> None:
    rows = [*lasting(2 * LONGEST, 30, tid=301), *lasting(20 * LONGEST, 40, tid=302, vcpu=1)]
    text = render(trace(tmp_path, rows))
    assert text.index("LIVELOCK: vCPU 1") < text.index("DELAYED: vCPU 0")
    assert text.index("DELAYED") < text.index("Threads that trapped")


def test_a_program_is_not_called_a_guest(tmp_path: Path) -> None:
    rows = loop(200, flags=EARLY, vcpu=-1, tid=VMM)
    text = flowing(render(trace(tmp_path, rows, tasks=[task(VMM, b"legacy-app")])))
    assert " LIVELOCK: a thread of legacy-app (PID 200) did not get past address 0x7c40" in text


@pytest.mark.parametrize(
    ("left_ns", "when"),
    [
        (
            2 * LONGEST - 1,
            "since 2026-09-21 14:13:29.768 UTC, for 200 ms; not ended when the recording did, at "
            "14:13:30.000 UTC",
        ),
        (
            2 * LONGEST,
            "2026-09-21 14:13:29.768 UTC to 14:13:29.968 UTC, 200 ms; not seen since (recorded until "
            "14:13:30.000 UTC)",
        ),
    ],
)
def test_a_loop_that_may_go_on_has_no_end(tmp_path: Path, left_ns: int, when: str) -> None:
    rows = lasting(200 * MS, 40, SPAN_NS - 200 * MS - left_ns)
    assert f" when {when} why " in flowing(render(trace(tmp_path, rows)))


def test_several_stretches_and_progress(tmp_path: Path) -> None:
    rows = [*loop(100), completed(110 * MS), *loop(200, 200 * MS)]
    text = flowing(render(trace(tmp_path, rows)))
    assert "300 ms in 2 stretches, the longest 200 ms" in text
    assert "some: detection was switched off for it 1 time," in text
    assert "traps 301, of which 300 early returns" in text


def test_early_returns_from_the_semaphore_are_shown(tmp_path: Path) -> None:
    rows = [*loop(99), *(interrupted(99 * MS + index * MS) for index in range(101))]
    text = flowing(render(trace(tmp_path, rows)))
    assert "traps 200, of which 200 early returns of the penalty (101 from its semaphore) slept" in text


def test_detection_off_without_a_penalty_is_progress(tmp_path: Path) -> None:
    text = flowing(render(trace(tmp_path, [*loop(100), not_penalized(110 * MS), *loop(200, 200 * MS)])))
    assert "some: detection was switched off for it 1 time," in text


def test_one_stretch_without_progress(tmp_path: Path) -> None:
    text = flowing(render(trace(tmp_path, loop(200))))
    assert "stretches" not in text
    assert "200 early returns of the penalty slept" in text
    assert "none: detection was switched off for it 0 times," in text
    assert "199 VM exits over 199 traps" in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "SIGUSR1 to the thread, SI_TIMER: a POSIX timer (timer_create), every 1 ms (quartiles 0 us"),
        ({"flags": EARLY | GUEST | FLAGS["SIGNAL_GROUP"]}, "SIGUSR1 to the process, SI_TIMER"),
        (
            {"signal_code": -6, "sender_tgid": 7, "sender_tid": 8},
            "SI_TKILL: tgkill or pthread_kill, sent by PID 7, TID 8, every",
        ),
        ({"signal_code": 77}, "si_code 77: the kernel, every"),
        ({"signal": 0, "signal_ns": 0}, "ended by unknown 200 (100 %)"),
    ],
)
def test_the_signal(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    assert words in flowing(render(trace(tmp_path, loop(200, **fields))))


def test_a_signal_that_ended_some_of_the_sleeps(tmp_path: Path) -> None:
    rows = [row | {"signal": 0} if index < 50 else row for index, row in enumerate(loop(200))]
    assert "it ended 150 of the sleeps" in flowing(render(trace(tmp_path, rows)))
    assert "of the sleeps" not in render(trace(tmp_path, loop(200)))


def test_no_thread_trapped(tmp_path: Path) -> None:
    text = render(trace(tmp_path))
    assert "\nNOTHING FOUND: " in text
    assert "Watched for 10 s: no split-lock trap." in text
    assert "Threads that trapped" not in text
    assert "INCOMPLETE" not in text


def test_what_became_of_harmless_traps(tmp_path: Path) -> None:
    rows = [completed(0), completed(600 * MS), early(1_200 * MS), not_penalized(2_000 * MS)]
    text = flowing(render(trace(tmp_path, rows)))
    assert "Watched for 10 s: 4 split-lock traps of 1 thread." in text
    assert "2 completed the penalty" in text
    assert "1 was not penalized. 1 was ended early by a signal, not in a loop." in text
    assert "SIGBUS" not in text
    assert "was not seen" not in text
    text = flowing(render(trace(tmp_path, [row | {"tid": tid} for row in rows for tid in (301, 302)])))
    assert "4 completed the penalty" in text
    assert "2 were not penalized. 2 were ended early by a signal, not in a loop." in text


def test_what_became_of_traps_that_were_not_seen_to_the_end(tmp_path: Path) -> None:
    missed = completed(200 * MS, flags=EARLY & ~FLAGS["MSR_WATCHED"] | FLAGS["RETURN_MISSED"] | GUEST)
    text = flowing(render(trace(tmp_path, [missed])))
    assert "1 split-lock trap of 1 thread. The end of 1 was not seen." in text
    assert "not penalized." not in text


def test_probes_that_the_kernel_skipped(tmp_path: Path) -> None:
    ended = closing(1) | {"skipped": {"msleep_interruptible": 1234, "odd\x1b": "x"}}
    text = flowing(render(trace(tmp_path, [completed(0)], ended=ended)))
    assert r"may lack something: msleep_interruptible 1,234, odd\x1b 0" in text
    assert "skipped" not in render(trace(tmp_path, [completed(0)], ended=closing(1) | {"skipped": {}}))


@pytest.mark.parametrize(
    ("rest", "complete"),
    [
        ({}, True),
        ({"close": False}, False),
        ({"lost": [{"ns": START_NS, "kind": 1, "cause": 1, "count": 1}]}, False),
        ({"opening": facts(kernel={"replaced": {"split_lock_warn": ["hotfix"]}})}, False),
        ({"ended": closing(1) | {"kernel": {"replaced": {"split_lock_warn": ["hotfix"]}}}}, False),
        ({"ended": closing(1) | {"kernel": {"replaced": {}}}}, True),
        ({"opening": facts(kernel={"replaced": "odd"})}, True),
    ],
    ids=["whole", "unfinished", "lost", "live patch", "a later one", "none at the end", "odd fact"],
)
def test_nothing_found_in_a_recording_that_is_not_complete(
    tmp_path: Path, rest: dict[str, Any], complete: bool
) -> None:
    text = render(trace(tmp_path, [completed(0)], **rest))
    assert ("\nNOTHING FOUND: " if complete else "\nNOTHING FOUND IN AN INCOMPLETE RECORDING: ") in text
    assert ("the last section says what is missing" in flowing(text)) != complete


def test_accounts_add_up(tmp_path: Path) -> None:
    lost = [{"ns": START_NS, "cpu": cpu, "kind": 1, "cause": 1, "count": 20} for cpu in (0, 1)]
    lost += [{"ns": START_NS, "cpu": 0, "kind": 3, "cause": 1, "count": 500}]
    rows = [completed(0), completed(30 * MS)]
    recorded = trace(tmp_path, rows, lost=lost, ended=closing(50, unfinished=1))
    text = flowing(render(recorded))
    assert "50 traps counted = 2 recorded + 40 lost + 1 unfinished + 7 missing from this file" in text
    assert "lost on 2 CPUs: 40 trap records (ring_full)" in text
    assert "lost on CPU 0: 500 task records (ring_full)" in text
    text = flowing(render(trace(tmp_path, rows, lost=lost, ended=closing(43, unfinished=1))))
    assert "43 traps counted = 2 recorded + 40 lost + 1 unfinished " in text
    assert "from this file" not in text


def test_traps_that_the_probes_never_saw_are_counted_too(tmp_path: Path) -> None:
    lost = [{"ns": START_NS, "cpu": 0xFFFF_FFFF, "kind": 1, "cause": 4, "count": 3}]
    text = flowing(render(trace(tmp_path, [completed(0)], lost=lost)))
    assert "4 traps counted = 1 recorded + 3 lost + 0 unfinished " in text
    assert "lost: 3 trap records (skipped)" in text
    assert "4294967295" not in text


def test_accounts_without_an_end(tmp_path: Path) -> None:
    text = flowing(render(trace(tmp_path, [completed(0)], close=False)))
    assert "1 trap recorded, 0 lost; the recording was not ended" in text
    assert "warning: the recording has no end" in text


def test_probes_by_backend_and_those_that_are_missing(tmp_path: Path) -> None:
    opening = facts()
    opening["probes"] = [
        {"name": "f1", "backend": "fentry", "detail": ""},
        {"name": "f2", "backend": "fentry", "detail": ""},
        {"name": "k1", "backend": "kprobe", "detail": "why"},
        {"name": "a:t", "backend": "tracepoint", "detail": ""},
        {"name": "m:s", "backend": "", "detail": "not there"},
    ]
    text = flowing(render(trace(tmp_path, opening=opening)))
    assert "Probes: fentry on f1 f2, kprobe on k1" in text
    assert "Not watched: m:s" in text
    assert "a:t" not in text
    assert "Not watched" not in render(trace(tmp_path))


def test_probes_are_those_of_the_last_word_on_them(tmp_path: Path) -> None:
    """The recorder adds the probes of the first trap later."""
    later = [{"name": "kvm:kvm_exit", "backend": "", "detail": "refused"}]
    assert "Not watched: kvm:kvm_exit" in render(trace(tmp_path, updates=[{"probes": later}]))


@pytest.mark.parametrize(
    "opening",
    [
        {},
        {"clock": {}},
        {"kernel": {}, "probes": []},
        facts(kernel=None, clock=None, split_lock=None, cpu=None),
    ],
)
def test_facts_may_be_missing(tmp_path: Path, opening: dict[str, Any]) -> None:
    text = render(trace(tmp_path, loop(200), opening=opening, ended={}))
    assert " LIVELOCK: vCPU 0 of a process (PID 200, TID 201)" in flowing(text)
    assert f"TID {VCPU}" in text


@pytest.mark.parametrize(
    ("count", "period_ns", "slowed"),
    [(3, 100 * MS, True), (2, 100 * MS, False), (40, 259 * MS, True), (40, 267 * MS, False)],
)
def test_a_thread_that_sleeps_for_a_twentieth_of_its_time_is_no_clean_bill(
    tmp_path: Path, count: int, period_ns: int, slowed: bool
) -> None:
    """A penalty of the synthetic host sleeps 13 ms."""
    text = render(trace(tmp_path, [completed(index * period_ns) for index in range(count)]))
    assert ("\nSLOWED (notice, no alarm): " if slowed else "\nNOTHING FOUND: ") in text
    assert ("of its time in penalties, but ma" in flowing(text)) == slowed


def test_what_was_counted_and_is_nowhere_is_no_clean_bill(tmp_path: Path) -> None:
    text = render(trace(tmp_path, [], ended=closing(5)))
    assert "\nNOTHING FOUND IN AN INCOMPLETE RECORDING: " in text
    assert "5 missing from this file" in flowing(text)


def test_a_file_of_several_has_its_own_accounts(tmp_path: Path) -> None:
    own = {"number": 2, "recording": "ab", "before": {"trap": 1000}}
    ended = {"clock": closing(0)["clock"], "ended_by": "rotation"}
    text = flowing(render(trace(tmp_path, loop(20), opening={**facts(), "segment": own}, ended=ended)))
    assert "File number 2 of a recording in several (--rotate)" in text
    assert "20 traps recorded, 0 lost in this file; the recording goes on in the next one" in text
    last = trace(tmp_path, loop(20), opening={**facts(), "segment": own}, ended=closing(1020))
    assert "20 traps counted = 20 recorded + 0 lost + 0 unfinished" in flowing(render(last))
    assert "missing" not in render(last)
    short = trace(tmp_path, loop(20), opening={**facts(), "segment": own}, ended=closing(1021))
    assert "21 traps counted = 20 recorded + 0 lost + 0 unfinished + 1 missing" in flowing(render(short))


def test_more_findings_than_are_shown_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four VMs with three vCPUs each, one finding for each."""
    rows = [
        row | {"tgid": vm, "tid": vm + 1 + vcpu, "vcpu": vcpu}
        for vm in (200, 300, 400, 500)
        for vcpu in range(3)
        for row in loop(200)
    ]
    recorded = trace(tmp_path, rows)
    monkeypatch.setattr(overview, "MOST", 1)
    monkeypatch.setattr(reports, "MOST_THREADS", 5)
    monkeypatch.setattr(reports, "MOST_FINDINGS", 4)
    monkeypatch.setattr(groups, "MOST", 2)
    text = render(recorded)
    assert text.count("LIVELOCK: 3 vCPUs (0-2)") == 2  # in the summary, and its section
    assert "And 9 findings more, about 3 VMs or processes." in text
    assert "The 3 threads" in text
    assert "\n    and 1 more\n" in text
    assert "\n  and 7 more\n" in text
    content = parsed(recorded)
    assert len(content["findings"]) == 4
    assert content["findings_omitted"] == 8
    assert [each["tgid"] for each in content["summary"]] == [200, 300]
    assert {row["verdict"] for row in content["threads"]} == {"livelock"}
    assert "And 9 findings more" in FORMATS["html"].render(built(recorded), Style())


def test_remedies_of_each_thread_are_no_more_than_are_listed(tmp_path: Path) -> None:
    """Each of 60 threads has a remedy with its TID."""
    ptrace = {"signal": 0, "signal_ns": 0, "signal_code": 0, "flags": EARLY | FLAGS["PTRACE"]}
    rows = [row | ptrace | {"tid": VCPU + vcpu, "vcpu": vcpu} for vcpu in range(60) for row in loop(20)]
    text = render(trace(tmp_path, rows))
    assert f"{remedies.MOST}. " in text
    assert f"{remedies.MOST + 1}. " not in text
