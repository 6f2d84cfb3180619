"""Whose signal it is, from the records of signals; what a period must be, from the model."""

from pathlib import Path

import pytest

from sldtrace.host.signals import Code
from sldtrace.model import threshold
from sldtrace.model.penalty import for_kernel
from sldtrace.model.simulator import Scene, Simulator, Vcpu
from sldtrace.model.sources import Kind, Source
from sldtrace.model.thread import Costs
from tests.analyzers.shorthands import one, signal_of
from tests.analyzers.synthetic import MS, SIGALRM, SIGUSR1, TICK, VMM, facts, loop, signalled, task


def test_the_period_comes_from_the_records_of_signals(tmp_path: Path) -> None:
    """Half of them came while the thread was awake, and ended no sleep."""
    sent = [signalled(index * MS // 2) for index in range(400)]
    sent += [signalled(index * MS // 3, signal=SIGALRM) for index in range(100)]
    sent += [signalled(index * MS // 3, tid=999) for index in range(100)]
    numbers = one(tmp_path, loop(200), more={"signal": sent}).numbers
    assert (signal_of(numbers).period_ns, signal_of(numbers).period_spread_ns) == (MS // 2, 0)
    assert (signal_of(numbers).records, signal_of(numbers).ended) == (400, 200)


def test_signals_before_and_after_the_loop_do_not_count(tmp_path: Path) -> None:
    sent = [signalled(index * 7 * MS) for index in range(100)]
    numbers = one(tmp_path, loop(50, 100 * MS), more={"signal": sent}).numbers
    assert signal_of(numbers).records == sum(100 <= index * 7 < 150 for index in range(100))


@pytest.mark.parametrize(
    ("number", "code", "made_by"),
    [
        (SIGUSR1, Code.SI_TIMER, "timer_create"),
        (SIGALRM, Code.SI_KERNEL, "setitimer"),
        (SIGALRM, Code.SI_TIMER, "timer_create"),
        (SIGUSR1, Code.SI_KERNEL, "kernel"),
        (SIGUSR1, Code.SI_USER, "kill"),
        (SIGUSR1, Code.SI_QUEUE, "sigqueue"),
        (SIGUSR1, Code.SI_TKILL, "tgkill"),
        (SIGUSR1, 77, "kernel"),
    ],
)
def test_what_makes_the_signal(tmp_path: Path, number: int, code: int, made_by: str) -> None:
    finding = one(tmp_path, loop(50, signal=number, signal_code=int(code)))
    assert signal_of(finding.numbers).made_by == made_by


def test_the_sending_thread_has_a_name(tmp_path: Path) -> None:
    sent = {"signal_code": int(Code.SI_TKILL), "sender_tgid": VMM, "sender_tid": 300}
    finding = one(tmp_path, loop(50, **sent), tasks=[task(300, b"ticker\x1b[31m")])
    (text,) = (fact.text for fact in finding.facts if fact.label == "signal")
    assert f"sent by PID {VMM}, TID 300 (ticker\\x1b[31m)" in text


@pytest.mark.parametrize(("release", "alive"), [("6.12.48", 3 * TICK), ("6.1.0", 4 * TICK)])
def test_the_least_period_is_this_kernels(tmp_path: Path, release: str, alive: int) -> None:
    opening = facts(kernel={"release": release})
    least = one(tmp_path, loop(200), opening=opening).numbers.least_period_ns
    assert least == alive + 50_000  # per period so much passes outside of the sleep


def test_one_signal_has_no_least_period(tmp_path: Path) -> None:
    rows = loop(50, signal=0, signal_ns=0)
    finding = one(tmp_path, rows)
    assert finding.numbers.least_period_ns is None
    assert "needs" not in [fact.label for fact in finding.facts]


@pytest.mark.parametrize("kind", [Kind.PERIODIC, Kind.REARMED])
@pytest.mark.parametrize("release", ["6.1", "6.12"])
@pytest.mark.parametrize(("offset", "through"), [(0, True), (-2 * TICK, False)])
def test_the_simulator_agrees_with_the_least_period(
    kind: Kind, release: str, offset: int, through: bool
) -> None:
    """At it no sleep is cut short for good; two jiffies below no penalty completes."""
    penalty, costs = for_kernel(release, TICK), Costs()
    least = threshold.least_period_ns(penalty, Source(kind, 1, 1_000), costs)
    simulator = Simulator(Scene(penalty, [Vcpu(Source(kind, least + offset, 1_000), costs)]))
    list(simulator.run(2_000 * MS))
    assert (simulator.executed(simulator.threads[0]) > 0) == through
