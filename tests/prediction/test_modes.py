"""What the modes of split_lock_detect= would do: made-up recordings, the simulator, and a rate limit."""

from pathlib import Path
from typing import Any

import pytest

from sldtrace.dataset.trace import Trace
from sldtrace.errors import UsageError
from sldtrace.model.simulator import Vcpu
from sldtrace.model.sources import Source
from sldtrace.prediction import modes, predict
from sldtrace.prediction.modes import Outlook
from sldtrace.prediction.predict import WhatIf
from tests.analyzers import synthetic
from tests.analyzers.synthetic import FACTS, MS, START_NS, VMM, completed, counted, loop
from tests.model.scenes import timer
from tests.prediction.test_predict import simulated

SECOND = 1000 * MS
PROGRAM = 900


def locked(tid: int, count: int, seconds: int = 1, slept_ms: int = 0) -> dict[str, int]:
    times = {"ns": START_NS + seconds * SECOND, "since_ns": START_NS, "handler_ns": slept_ms * MS}
    return {**times, "count": count, "rip": 0x401000, "tgid": PROGRAM, "tid": tid}


def lock_facts(mode: str, split: bool, bus: bool, mitigate: int = 1) -> dict[str, Any]:
    known = {"mode": mode, "detects_split_locks": split, "detects_bus_locks": bus, "mitigate": mitigate}
    return FACTS | {"split_lock": known}


def only(trace: Trace, limit: int = 10) -> Outlook:
    (found,) = modes.run(trace, limit).outlooks
    return found


@pytest.mark.parametrize(
    ("text", "limit"), [("modes", 10), ("modes=ratelimit:250", 250), ("timer=none", None), ("mode=off", None)]
)
def test_what_can_be_asked(text: str, limit: int | None) -> None:
    assert modes.parse(text) == limit


@pytest.mark.parametrize("text", ["modes=", "modes=ratelimit", "modes=ratelimit:0", "modes=ratelimit:1001"])
def test_what_cannot(text: str) -> None:
    with pytest.raises(UsageError, match="N from 1 to 1000"):
        modes.parse(text)


@pytest.mark.parametrize(("period_ms", "livelocked"), [(1, 1), (40, 0)])
def test_of_a_vm_recorded_without_the_penalty(period_ms: int, livelocked: int, tmp_path: Path) -> None:
    """mitigate=0: what warn does is what the simulator does with the penalty on."""
    made = simulated(tmp_path, Vcpu(timer(period_ms * MS)))
    found = only(made)
    (expected,) = predict.run(made, WhatIf(mode="warn", mitigate=1))
    assert (found.guest, found.threads, found.trapping, found.fatal) == (True, 1, True, True)
    assert (found.livelocked, found.chance) == (livelocked, 0)
    assert found.penalty_share == pytest.approx(expected.penalty_share, rel=0.01)  # it traps nearly always
    assert found.penalty_share > 0.5
    assert found.asleep is None


def test_a_vm_that_trapped_once_is_not_said_to_be_penalized_all_the_time(tmp_path: Path) -> None:
    """The span of its traps is one penalty long."""
    made = synthetic.trace(tmp_path, [completed(0), completed(5 * SECOND, tgid=PROGRAM, tid=PROGRAM)])
    found = modes.run(made, 10).outlooks
    assert {each.tgid for each in found} == {VMM, PROGRAM}
    assert all(0 < each.penalty_share < 0.01 for each in found)


def test_the_threads_of_a_vm_are_one_row(tmp_path: Path) -> None:
    rows = loop(400) + [completed(index * 40 * MS, tid=77, start_cpu=1) for index in range(10)]
    made = synthetic.trace(tmp_path, rows)
    found = only(made)
    assert (found.tgid, found.threads, found.livelocked) == (VMM, 2, 1)
    assert found.traps_per_s * (made.span_ns[1] - made.span_ns[0]) / SECOND == pytest.approx(410)


def test_a_program_whose_bus_locks_only_were_seen_would_be_penalized_by_a_cpu_with_ac(tmp_path: Path) -> None:
    """In ratelimit:10 it slept nearly all the time; by itself it would have 1,000 a second."""
    made = synthetic.trace(
        tmp_path,
        more={"bus_lock": [locked(901, 10, slept_ms=990)]},
        opening=lock_facts("ratelimit:10", True, True),
    )
    found = only(made)
    assert (found.guest, found.trapping, found.fatal, found.livelocked) == (False, True, True, 0)
    assert found.asleep == pytest.approx(0.99)
    # A penalty of 8 to 12 ms, then 8 to 12 ms without detection.
    assert 0.3 < found.penalty_share < 0.7


def test_without_ac_bus_locks_are_only_logged_in_warn(tmp_path: Path) -> None:
    made = synthetic.trace(
        tmp_path, more={"bus_lock": [locked(901, 100)]}, opening=lock_facts("warn", False, True)
    )
    found = only(made, limit=200)
    assert (found.trapping, found.fatal, found.penalty_share) == (False, True, 0.0)
    assert (found.asleep, found.bus_locks_per_s > 0) == (0.0, True)


def test_programs_share_the_limit_and_guests_have_none(tmp_path: Path) -> None:
    exits = counted(74, 500, {20: 500})
    made = synthetic.trace(
        tmp_path,
        more={"bus_lock": [locked(901, 30), locked(902, 10)], "counts": [exits]},
        opening=lock_facts("off", True, True),
    )
    found = {each.guest: each for each in modes.run(made, 20).outlooks}
    assert found[False].asleep == pytest.approx(0.5)
    assert (found[True].asleep, found[True].trapping, found[True].fatal) == (None, True, True)


def test_nothing_was_seen(tmp_path: Path) -> None:
    assert modes.run(synthetic.trace(tmp_path), 10).outlooks == []


def limited(wanted_per_s: int, limit: int, seconds: int) -> float:
    """A program under `while (!__ratelimit(...)) msleep(20)`, step by step (lib/ratelimit.c)."""
    now = begin = printed = asleep = 0
    while now < seconds * SECOND:
        now += SECOND // wanted_per_s
        while True:
            if now - begin > SECOND:
                begin, printed = now, 0
            if printed < limit:
                printed += 1
                break
            now += 20 * MS
            asleep += 20 * MS
    return asleep / now


@pytest.mark.parametrize(("wanted", "limit"), [(1000, 10), (100, 10), (12, 10), (5, 10), (100_000, 1000)])
def test_the_share_asleep_is_that_of_the_kernels_loop(wanted: int, limit: int) -> None:
    assert modes.asleep_share(wanted, limit) == pytest.approx(limited(wanted, limit, 60), abs=0.03)


def test_a_source_is_not_made_up(tmp_path: Path) -> None:
    """A thread of which only bus locks are known gets no signals: no livelock is predicted for it."""
    made = synthetic.trace(
        tmp_path, more={"bus_lock": [locked(901, 500)]}, opening=lock_facts("ratelimit:1000", True, True)
    )
    (found,) = predict.run(
        made, WhatIf(mode="warn"), [modes._profile(each, 7) for each in modes._locking(made)]
    )
    assert (found.profile.source, found.progress) == (Source(), "yes")
