"""A whole log: nothing is counted twice or lost, threads and boots are kept apart, memory is bounded."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sldtrace.kernlog import survey as module
from sldtrace.kernlog import verdict
from sldtrace.kernlog.survey import Survey
from sldtrace.reporters import log as reports
from tests.reporters.rendering import as_json, as_text

DATA = Path(__file__).parent / "data"
LINES = [line for path in sorted(DATA.glob("*.log")) for line in path.read_bytes().splitlines()]
TRAP = "x86/split lock detection: #AC: {}/{} took a split_lock trap at address: {:#x}"


def surveyed(*lines: str | bytes) -> Survey:
    survey = Survey()
    texts = [line.encode() if isinstance(line, str) else line for line in lines]
    survey.read(io.BytesIO(b"".join(text + b"\n" for text in texts)))
    return survey


def trap(comm: str = "CPU 0/KVM", tid: int = 7, address: int = 0x7C40, before: str = "") -> str:
    return before + TRAP.format(comm, tid, address)


def test_the_kept_logs_are_accounted_for() -> None:
    reports = surveyed(*(DATA / "field-reports.log").read_bytes().splitlines())
    assert reports.tally.lines == 26
    assert reports.matched == Counter(trap=22, suppressed=2, mode=1, oops=1)
    assert reports.other == 0
    assert reports.suppressed == {"handle_bus_lock": 102, "split_lock_warn": 1}
    kernel = surveyed(*(DATA / "kernel.log").read_bytes().splitlines())
    assert kernel.tally.lines == 26
    assert kernel.matched == Counter(boot=7, mode=7, trap=5, suppressed=2, oops=1, unknown=1)
    assert kernel.other == 3


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    line = bytearray(draw(st.sampled_from(LINES)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        line[at : at + draw(st.integers(0, 5))] = draw(st.binary(max_size=6))
    return bytes(line)


logs = st.lists(
    st.sampled_from(LINES)
    | mangled()
    | st.binary(max_size=80)
    | st.builds(lambda line: json.dumps({"MESSAGE": list(line)}).encode(), mangled()),
    max_size=30,
).map(lambda lines: b"\n".join(lines))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs)
def test_any_log_is_accounted_for_and_printed_safely(log: bytes) -> None:
    survey = Survey()
    survey.read(io.BytesIO(log))
    lines = log.split(b"\n")
    assert survey.tally.lines == len(lines) - (not lines[-1])
    assert survey.matched_lines + survey.other == survey.tally.lines
    assert survey.matched_lines <= survey.tally.lines
    assert sum(thread.lines for thread in survey.traps()) + survey.beyond >= survey.matched["trap"]
    for thread in survey.traps():
        assert sum(thread.addresses.values()) <= thread.lines
    conclusion = verdict.conclude(survey)
    content = reports.build(survey, [], None, conclusion)
    text, machine = as_text(content), as_json(content)
    assert all(character == "\n" or character.isprintable() for character in text + machine)
    assert machine.isascii()
    assert len(json.loads(machine)["threads"]) == len(survey.threads)


def test_lines_of_one_thread_are_one_row_with_all_its_addresses() -> None:
    survey = surveyed(*(trap(address=0x1000 + at % 20) for at in range(100)), trap(tid=8))
    first, other = survey.traps()
    assert (first.lines, other.lines) == (100, 1)
    assert len(first.addresses) == module.MOST_ADDRESSES
    assert first.addresses[0x1000] == 5


@pytest.mark.parametrize(
    "other",
    [
        trap(tid=8),
        trap(comm="CPU 1/KVM"),
        trap().replace("took a", "fatal"),
        trap().replace("/7 ", "/7 (guest) "),
        trap(before="Mar 26 11:13:52 calypso kernel: "),
    ],
)
def test_threads_that_differ_are_kept_apart(other: str) -> None:
    assert [thread.lines for thread in surveyed(trap(), other, trap()).traps()] == [2, 1]


def test_first_and_last_are_by_wall_time_where_it_is_known() -> None:
    days = [f"2026-06-{day:02}T00:00:00Z " for day in (13, 12, 14, 13)]
    (thread,) = surveyed(*(trap(before=day) for day in days)).traps()
    assert (thread.first.text, thread.last.text) == ("2026-06-12T00:00:00Z", "2026-06-14T00:00:00Z")


def test_first_and_last_are_by_appearance_where_it_is_not() -> None:
    dates = ["Dec 31 23:59:59", "Jan  1 00:00:01", "sept. 24 05:17:59"]
    (thread,) = surveyed(*(trap(before=f"{date} h kernel: ") for date in dates)).traps()
    assert (thread.first.text, thread.last.text) == ("Dec 31 23:59:59", "sept. 24 05:17:59")


LINUX = "[    0.000000] Linux version {} (x@y) #1 SMP"
MODE = (
    "x86/split lock detection: #AC: crashing the kernel on kernel split_locks and {} on user-space "
    "split_locks"
)


def test_a_boot_begins_with_the_kernels_first_line() -> None:
    warn, fatal = MODE.format("warning"), MODE.format("sending SIGBUS")
    survey = surveyed(trap(), LINUX.format("6.1.0"), warn, trap(), LINUX.format("6.12.1"), fatal, trap())
    assert [(boot.kernel, [mode.name for mode in boot.modes]) for boot in survey.boots] == [
        ("", []),
        ("6.1.0", ["warn"]),
        ("6.12.1", ["fatal"]),
    ]
    assert [(thread.boot, thread.lines) for thread in survey.traps()] == [(0, 1), (1, 1), (2, 1)]


def test_a_boot_begins_when_the_mode_is_said_again() -> None:
    survey = surveyed(MODE.format("warning"), trap(), MODE.format("warning"), trap())
    assert [thread.boot for thread in survey.traps()] == [0, 1]


def test_boots_of_the_journal_are_distinguished_by_their_ids() -> None:
    first = LINUX.format("6.1.0")
    said = [(trap(), "a"), (first, "a"), (trap(), "a"), (first, "b"), (first, "b"), (trap(), "b")]
    lines = [json.dumps({"MESSAGE": text, "_BOOT_ID": boot, "_HOSTNAME": "h"}) for text, boot in said]
    survey = surveyed(*lines)
    assert [(boot.id, boot.kernel) for boot in survey.boots] == [("a", "6.1.0"), ("b", "6.1.0")]
    assert [(thread.boot, thread.lines) for thread in survey.traps()] == [(0, 2), (1, 1)]


def test_hosts_have_boots_of_their_own() -> None:
    at = "Mar 26 11:13:52 {} kernel: "
    survey = surveyed(
        *(at.format(host) + LINUX.format("6.1.0") for host in "ab"), trap(before=at.format("a"))
    )
    assert [boot.host for boot in survey.boots] == survey.hosts == ["a", "b"]
    assert [thread.boot for thread in survey.traps()] == [0]


@pytest.mark.parametrize(
    ("times", "boots"),
    [((5.0, 6.0), [0, 0]), ((5.0, 5.0), [0, 0]), ((5.0, 4.0), [0, 1])],
)
def test_a_log_that_begins_earlier_than_another_one_ended_is_of_another_boot(
    times: tuple[float, float], boots: list[int]
) -> None:
    survey = Survey()
    for tid, time in enumerate(times):
        survey.read(io.BytesIO(trap(tid=tid, before=f"[    {time:.6f}] ").encode()))
    assert [thread.boot for thread in survey.traps()] == boots


def test_in_one_log_times_may_go_back() -> None:
    survey = surveyed(trap(tid=1, before="[    5.000000] "), trap(tid=2, before="[    4.000000] "))
    assert [thread.boot for thread in survey.traps()] == [0, 0]


def test_hosts_and_lines_without_a_time_are_not_compared() -> None:
    survey = Survey()
    for before in ("[    5.0] ", "", "h kernel: [    4.0] ", "[    6.0] "):
        survey.read(io.BytesIO(trap(before=before).encode()))
    assert [(thread.host, thread.boot, thread.lines) for thread in survey.traps()] == [
        ("", 0, 3),
        ("h", 1, 1),
    ]


def test_an_oops_is_named_by_the_first_rip_line_after_it() -> None:
    rip = "[  106.000002] RIP: 0010:{}+0x4e/0xc0"
    lines = [
        rip.format("early"),
        "[  106.0] Oops: Split lock detected: 0000",
        "Comm: x",
        rip.format("skb_clone"),
    ]
    (oops,) = surveyed(*lines, rip.format("late")).oopses
    assert oops.function == "skb_clone+0x4e/0xc0"


def test_a_rip_line_far_away_is_of_another_oops() -> None:
    (oops,) = surveyed("Oops: Split lock detected", *["x"] * 64, "RIP: 0010:other+0x1/0x2").oopses
    assert oops.function == ""


def test_lines_without_a_time_or_an_address_are_counted() -> None:
    call = "  x-7 [000] 1.000000: split_lock_warn <-handle_guest_split_lock"
    cut = trap(before="[ 1.0] ").split(" at address")[0]
    survey = surveyed(trap(), trap(before="[ 1.0] "), trap(before="Mar 26 11:13:52 h kernel: "), call, cut)
    assert (survey.timeless, survey.no_address, survey.matched["trap"]) == (1, 1, 5)


def test_of_what_is_not_understood_some_different_lines_are_kept() -> None:
    lines = [f"split lock detection: {number}" for number in (1, 1, 2, 3, 4, 5, 6, 7)]
    survey = surveyed(*lines)
    assert survey.samples == [line.encode() for line in lines[1:6]]
    assert (survey.matched["unknown"], survey.not_understood) == (8, 8)


def test_what_another_program_says_is_counted_apart() -> None:
    survey = surveyed(trap(before="Mar 26 11:13:52 calypso mallory: "))
    assert survey.matched == {"not_kernel": 1}
    assert not survey.threads
    assert not survey.boots


def test_too_many_threads_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_THREADS", 10)
    survey = surveyed(*(trap(tid=tid) for tid in (*range(15), 3)))
    assert (len(survey.threads), survey.beyond, survey.matched["trap"]) == (10, 5, 16)


def test_too_many_boots_are_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BOOTS", 3)
    survey = surveyed(*[LINUX.format("6.1.0")] * 9, trap())
    assert len(survey.boots) == 3
    assert [thread.boot for thread in survey.traps()] == [2]


@pytest.mark.parametrize(
    ("line", "guest"),
    [
        (trap("CPU 3/KVM"), True),
        (trap("qemu-system-x86"), True),
        (trap("dosemu.bin"), True),
        (trap("game", address=0x16886C89A), False),
        (trap("qemu-system-x86", address=0xFFFFF80104613BE8), True),
        (trap("qemu-system-x86", address=0x7FFFFFFFFFFF), True),
        (trap("CPU 0/TCG", address=0x7FFFFFFFFFFF), False),
        (trap("main-svga", address=0x5621F30A2E3D), False),
        (trap().replace("/7 ", "/7 (user) "), False),
        (trap().replace("#AC", "#DB").replace("split_lock", "bus_lock"), False),
        (trap("x").replace("/7 ", "/7 (guest) "), True),
        (trap("x").replace("took a", "fatal"), True),
        (trap("x").replace("took a", "bogus"), True),
        ("  x-7 [000] 1.000000: split_lock_warn <-handle_guest_split_lock", True),
        ("  x-7 [000] 1.000000: split_lock_warn <-handle_user_split_lock", False),
    ],
)
def test_who_is_a_vcpu(line: str, guest: bool) -> None:
    (thread,) = surveyed(line).traps()
    assert thread.guest is guest
