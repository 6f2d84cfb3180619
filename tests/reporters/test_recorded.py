"""What the report says beside the verdict: exits, waits, moves, sums, levels, cost."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.dataset.trace import Trace
from tests.analyzers.synthetic import FACTS, MS, START_NS, VMM, closing, completed, counted, step, trace
from tests.reporters import cases
from tests.reporters.rendering import parsed as as_json
from tests.reporters.rendering import text

LONGEST_NAME = 0x402  # avic_unaccelerated_access


def flowing(recorded: Trace) -> str:
    return " ".join(text(recorded).split())


def test_without_the_new_records_nothing_is_said_of_them(tmp_path: Path) -> None:
    said = text(trace(tmp_path, [completed(0)]))
    for word in ("VM exits", "waited", "Moved", "ot watched", "Cost", "filtered"):
        assert word not in said


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([step(0, "EXITS", "EXITS", "START")], "VM exits vCPU"),
        (
            [step(0, "TRAPS", "TRAPS", "START"), step(70 * MS, "EXITS", "TRAPS", "TRAP")],
            "VM exits, watched from 14:13:20.070 UTC on vCPU",
        ),
        (
            [step(0, "EXITS", "EXITS", "START"), step(4_000 * MS, "TRAPS", "EXITS", "EVENTS", 9, 8)],
            "VM exits, watched for 4 s of 10 s (see below) vCPU",
        ),
        ([], "VM exits vCPU"),
    ],
)
def test_since_when_exits_were_watched(steps: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    more = {"counts": [counted(1, 5, {3: 5})], "detail": steps}
    assert said in flowing(trace(tmp_path, [completed(0)], opening=FACTS | {"exits": "recent"}, more=more))


def test_tables_of_exits_fit_80_columns(tmp_path: Path) -> None:
    wide = {"isa": 2, "guest_ns": 86_400_000_000_000, "host_ns": 86_400_000_000_000}
    rows = [counted(LONGEST_NAME, 9_999_999_999, {31: 2_000_000_000}, **wide)]
    rows += [counted(1, 123_456_789, {10: 123_456_789}, isa=2), counted(2, 999_999_999, {}, isa=2)]
    said = text(trace(tmp_path, [completed(0)], more={"counts": rows}))
    assert "10,000 M" in said
    assert "999,999,999" in said
    assert ">2.15 s" in said
    assert [line for line in said.splitlines() if len(line) > 80] == []


def test_threads_that_trapped_come_first(tmp_path: Path) -> None:
    rows = [counted(12, 9_000 + n, {9: 1}, tid=300 + n, vcpu=n) for n in range(4)] + [counted(1, 2, {3: 2})]
    said = text(trace(tmp_path, [completed(0)], more={"counts": rows}))
    where = [said.index(f"vCPU {n} of a process") for n in (0, 3)]
    assert where == sorted(where)
    assert "(PID 200, TID 201): 2 exits" in said
    assert "and 2 more threads: see --format json" in said


def test_a_mutex_wait_that_a_signal_ended(tmp_path: Path) -> None:
    stall = {"ns": START_NS, "end_ns": START_NS + 8 * MS, "tgid": VMM, "tid": 7, "what": 2, "caller": 16}
    more = {"stall": [stall | {"result": -4, "penalized_tid": 201}]}
    said = flowing(trace(tmp_path, [completed(0)], more=more))
    assert "(PID 200, TID 7) waited 8 ms for a mutex in kvm+0x10 without success (EINTR)" in said
    assert "while vCPU 0, TID 201 was penalized" in said


def test_a_wait_without_a_penalty_is_not_shown(tmp_path: Path) -> None:
    stall = {"ns": START_NS, "end_ns": START_NS + 8 * MS, "tgid": VMM, "tid": 7, "what": 2, "caller": 16}
    assert "Waits for" not in flowing(trace(tmp_path, [completed(0)], more={"stall": [stall]}))


@pytest.mark.parametrize(
    ("by", "said"),
    [({"by_tid": 201}, "it was running itself"), ({"by_tid": 0}, "the CPU was idle")],
)
def test_who_moved_it(by: dict[str, int], said: str, tmp_path: Path) -> None:
    move = {"ns": START_NS, "tgid": VMM, "tid": 201, "from_cpu": 3, "to_cpu": 5, "by_tgid": VMM} | by
    found = flowing(trace(tmp_path, [completed(0)], more={"migrate": [move, move | {"to_cpu": 6}]}))
    assert "2 times, between 3 CPUs; 2 of them while " + said in found


def test_other_kinds_are_summed_only_where_something_is_not_there(tmp_path: Path) -> None:
    seen = {"trap": 1, "signal": 2, "exit": 3}
    more = {"signal": [{"ns": START_NS}] * 2, "exit": [{"ns": START_NS, "isa": 1}] * 2}
    recorded = trace(tmp_path, [completed(0)], ended=closing(1) | {"seen": seen}, more=more)
    assert "3 exit records counted = 2 recorded + 0 lost + 0 unfinished + 1 missing" in flowing(recorded)
    assert "signal record" not in text(recorded)
    accounts = {one["kind"]: one for one in as_json(recorded)["recording"]["accounts"]}
    assert {kind: one["missing"] for kind, one in accounts.items()} == {"trap": 0, "signal": 0, "exit": 1}


def test_what_was_left_out_is_not_missing(tmp_path: Path) -> None:
    ended = closing(5) | {"filtered": {"trap": 4}}
    recorded = trace(tmp_path, [completed(0)], ended=ended)
    assert "5 traps counted = 1 recorded + 0 lost + 0 unfinished + 4 filtered" in flowing(recorded)
    assert "\nNOTHING FOUND: " in text(recorded)


def test_json_of_all_kinds(tmp_path: Path) -> None:
    content = as_json(cases.detail(tmp_path))
    assert [one["level"] for one in content["recording"]["levels"]] == [
        "traps",
        "exits",
        "counts",
        "traps",
        "counts",
        "exits",
        "traps",
    ]
    trap = content["exits"][0]
    assert (trap["name"], trap["split_lock"], trap["count"]) == ("EXCEPTION_NMI (#AC)", True, 1999)
    assert (trap["p50_low_ns"], trap["p50_high_ns"]) == (1 << 20, 1 << 21)
    cpuid = next(one for one in content["exits"] if one["name"] == "CPUID")
    assert (cpuid["p99_low_ns"], cpuid["p99_high_ns"]) == (1 << 31, None)
    assert {one["name"]: one["count"] for one in content["user_exits"]} == {"EINTR": 40, "KVM_EXIT_INTR": 10}
    assert [one["waited_ns"] for one in content["stalls"]] == [n * 7 * MS for n in (5, 4, 3, 2, 1)]
    assert [one["count"] for one in content["migrations"]] == [6, 4]
