"""What-if: what can be asked, and what is answered for recorded threads."""

from pathlib import Path

import numpy as np
import pytest

from sldtrace.dataset import trace as traces
from sldtrace.dataset.trace import Trace
from sldtrace.engine.traps import TrapColumns
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.model import simulation
from sldtrace.model.machine import Fix
from sldtrace.model.records import ThreadIdentity
from sldtrace.model.simulation import SimulationOptions
from sldtrace.model.simulator import Scene, Vcpu
from sldtrace.model.sources import SHORTEST_NS, Kind, Source
from sldtrace.model.thread import Costs
from sldtrace.prediction import predict, signal_source
from sldtrace.prediction import recorded_penalty as recorded_kernel
from sldtrace.prediction.predict import WhatIf
from tests.analyzers import synthetic
from tests.analyzers.synthetic import MS, START_NS, completed, early, facts, loop
from tests.model.scenes import US, S, kernel, timer


def simulated(folder: Path, *vcpus: Vcpu, release: str = "6.12", cores: tuple[int, ...] = (0,)) -> Trace:
    """A recording of these threads for four seconds."""
    scene = Scene(kernel(release), vcpus, cores, start_ns=simulation.START_NS)
    path = folder / "scene.sld"
    simulation.write(SimulationOptions(path, scene, ThreadIdentity(), release, 4 * S, {}, force=True))
    return traces.load(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timer=20ms", WhatIf("timer=20ms", 20 * MS)),
        ("timer=none", WhatIf("timer=none", 0)),
        ("mitigate=0", WhatIf("mitigate=0", None, 0)),
        ("fix=uninterruptible", WhatIf("fix=uninterruptible", fix=Fix.UNINTERRUPTIBLE)),
        ("fix=remaining", WhatIf("fix=remaining", fix=Fix.REMAINING)),
        ("fix=early-returns:3", WhatIf("fix=early-returns:3", fix=Fix.EARLY_RETURNS, early_returns=3)),
        ("timer=1ms,mitigate=1", WhatIf("timer=1ms,mitigate=1", MS, 1)),
    ],
)
def test_what_can_be_asked(text: str, expected: WhatIf) -> None:
    assert predict.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "timer",
        "timer=",
        "timer=0",
        "timer=1us",
        "timer=soon",
        "mitigate=2",
        "fix=",
        "fix=early-returns:0",
        "timer=1s,,",
    ],
)
def test_what_cannot(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        predict.parse(text)
    assert "\n" not in str(raised.value)


def answer(trace: Trace, text: str) -> list[str]:
    return [each.progress for each in predict.run(trace, predict.parse(text))]


def test_a_livelock_gets_on_with_any_of_the_remedies(tmp_path: Path) -> None:
    recorded = synthetic.trace(tmp_path, loop(400))
    assert [each.progress for each in predict.run(recorded, WhatIf())] == ["no"]
    assert answer(recorded, "timer=20ms") == ["yes"]
    assert answer(recorded, "timer=none") == ["yes"]
    assert answer(recorded, "mitigate=0") == ["yes"]
    assert answer(recorded, "fix=uninterruptible") == ["yes"]
    assert answer(recorded, "fix=remaining") == ["yes"]
    assert answer(recorded, "fix=early-returns:3") == ["yes"]
    assert answer(recorded, "timer=5ms") == ["no"]
    assert answer(recorded, "timer=10ms") == ["chance"]


@pytest.mark.parametrize(
    ("period", "expected"), [(7_900, "no"), (8_100, "chance"), (11_900, "chance"), (12_100, "yes")]
)
def test_the_threshold_moved_by_a_tenth_of_a_millisecond(period: int, expected: str, tmp_path: Path) -> None:
    """6.12 at HZ=250: dead up to 8 ms into the sleep, alive from 12 ms on."""
    costs = Costs(entry_ns=1, trap_ns=0, wake_ns=1, outside_ns=1)
    recorded = simulated(tmp_path, Vcpu(timer(MS), costs))
    assert answer(recorded, f"timer={period}us") == [expected]


def test_a_kernel_that_cannot_be_switched(tmp_path: Path) -> None:
    recorded = synthetic.trace(
        tmp_path, loop(50), opening=facts(kernel={"release": "5.19.0"}, split_lock={"mitigate": None})
    )
    with pytest.raises(SldtraceError, match=r"no kernel\.split_lock_mitigate"):
        answer(recorded, "mitigate=0")
    assert answer(recorded, "timer=20ms") == ["yes"]


def test_jitter_makes_it_a_matter_of_chance(tmp_path: Path) -> None:
    steady = simulated(tmp_path, Vcpu(timer(7_500 * US, jitter_ns=US)))
    assert answer(steady, "mitigate=1") == ["no"]
    for period in (7_500, 12_500):
        shaky = simulated(tmp_path, Vcpu(timer(period * US, jitter_ns=400 * US)))
        assert answer(shaky, "mitigate=1") == ["chance"]


@pytest.mark.parametrize("kind", [Kind.REARMED, Kind.PERIODIC])
def test_the_source_follows_from_the_traps(kind: Kind, tmp_path: Path) -> None:
    """A timer that is armed anew drifts by what the VMM takes; one that the clock drives does not."""
    recorded = simulated(tmp_path, Vcpu(timer(2 * MS, kind, 20 * US), Costs(outside_ns=300 * US)))
    (found,) = predict.run(recorded, WhatIf())
    assert found.profile.source.kind is kind
    assert found.profile.source.period_ns == pytest.approx(2 * MS, rel=0.01)
    assert found.profile.costs.outside_ns == pytest.approx(300 * US, rel=0.02)


def test_a_timer_of_which_most_signals_end_no_sleep(tmp_path: Path) -> None:
    """20 ms: nearly all come while the guest runs; only the signal records tell how often."""
    recorded = simulated(tmp_path, Vcpu(timer(20 * MS)))
    (found,) = predict.run(recorded, WhatIf())
    assert found.profile.source.period_ns == pytest.approx(20 * MS, rel=0.01)
    assert found.profile.signals_used > found.profile.early_returns


@pytest.mark.parametrize(("made", "claimed"), [("6.1", "6.12.9"), ("6.12", "6.1.99")])
def test_the_sleep_that_was_seen_counts_for_more_than_the_version(
    made: str, claimed: str, tmp_path: Path
) -> None:
    """4381b895f544 may have been ported back, or reverted: the jiffies left by early signals tell."""
    scene = Scene(kernel(made), (Vcpu(timer(MS)),), start_ns=simulation.START_NS)
    path = tmp_path / "other.sld"
    simulation.write(SimulationOptions(path, scene, ThreadIdentity(), claimed, S, {}))
    found = recorded_kernel.penalty(traces.load(path))
    assert found.sleep_jiffies == kernel(made).sleep_jiffies != kernel(claimed).sleep_jiffies
    few = tmp_path / "few.sld"
    simulation.write(SimulationOptions(few, scene, ThreadIdentity(), claimed, 10 * MS, {}))
    assert recorded_kernel.penalty(traces.load(few)).sleep_jiffies == kernel(claimed).sleep_jiffies


def test_a_simulated_thread_is_predicted_as_it_was(tmp_path: Path) -> None:
    """Two vCPUs on one core, one of them frozen: its guest runs in the other's windows."""
    recorded = simulated(tmp_path, Vcpu(timer(MS), cpu=0), Vcpu(timer(30 * MS), cpu=1), cores=(0, 0))
    frozen, other = predict.run(recorded, WhatIf())
    for found in (frozen, other):
        assert found.traps_per_s == pytest.approx(found.profile.traps / 4, rel=0.1)
        assert found.penalty_share == pytest.approx(found.profile.penalty_share, rel=0.1)
    assert frozen.progress == "yes"
    assert "penalties of other threads" in frozen.reason
    # And of its own it would not.
    assert answer(simulated(tmp_path, Vcpu(timer(MS))), "mitigate=1") == ["no"]


def test_signals_that_were_not_recorded_do_not_make_a_clock_drift(tmp_path: Path) -> None:
    recorded = simulated(tmp_path, Vcpu(timer(7 * MS, Kind.PERIODIC, 50 * US)))
    sent = recorded.recording.records("signal")
    traps = TrapColumns(recorded.recording.records("trap"))
    number = np.arange(len(sent))
    holed = sent[(number < 200) | (number >= 240)]
    source, seen = signal_source.estimate(traps, np.ones(len(traps), bool), holed, 0)
    assert source.kind is Kind.PERIODIC
    assert source.period_ns == pytest.approx(7 * MS, rel=0.01)
    assert seen == len(holed) - 2


def test_a_trap_elsewhere_does_not_follow_upon_the_last_one(tmp_path: Path) -> None:
    """Between traps at two addresses the guest got on: that time is not the VMM's."""
    rows = [early(index * 2 * MS, rip=0x4000 + index % 2) for index in range(100)]
    (found,) = predict.run(synthetic.trace(tmp_path, rows), WhatIf())
    assert found.profile.costs == Costs(trap_ns=20_000)


def test_threads_whose_signals_were_not_seen(tmp_path: Path) -> None:
    """Early returns without a signal: the traps themselves are the period."""
    blind = [row | {"signal": 0, "signal_ns": 0, "signal_code": 0} for row in loop(100, period_ns=3 * MS)]
    (found,) = predict.run(synthetic.trace(tmp_path, blind), WhatIf())
    assert found.progress == "no"
    assert found.profile.source.period_ns == 3 * MS


def test_a_timer_of_which_no_signal_ends_a_sleep(tmp_path: Path) -> None:
    sent = simulated(tmp_path, Vcpu(timer(28 * MS, Kind.PERIODIC))).recording.records("signal")
    recorded = synthetic.trace(tmp_path, [completed(index * 40 * MS) for index in range(10)])
    traps = TrapColumns(recorded.recording.records("trap"))
    source, seen = signal_source.estimate(traps, np.zeros(len(traps), bool), sent, 0)
    assert (source.kind, source.period_ns, source.signo) == (Kind.PERIODIC, 28 * MS, 10)
    assert seen == len(sent) - 1


def test_a_storm_of_signals_is_bounded(tmp_path: Path) -> None:
    """Signals 5 us apart: the period is cut to what a thread can take at all."""
    rows = [early(at, US, end_ns=START_NS + at + 1_500) for at in range(0, 1500 * US, 5 * US)]
    (found,) = predict.run(synthetic.trace(tmp_path, rows), WhatIf())
    assert found.profile.source.period_ns == SHORTEST_NS
    assert found.progress == "no"


def test_a_thread_without_signals_progresses(tmp_path: Path) -> None:
    rows = [completed(index * 40 * MS, guest_ns=20 * MS) for index in range(50)]
    recorded = synthetic.trace(tmp_path, rows)
    (found,) = predict.run(recorded, WhatIf())
    assert (found.progress, found.profile.source) == ("yes", Source())
    (with_timer,) = predict.run(recorded, predict.parse("timer=1ms"))
    assert with_timer == found  # it has no timer that could be changed


def test_a_timer_without_a_unit_is_a_question() -> None:
    with pytest.raises(UsageError, match=r"timer=20: in which unit\?; write timer=20ms or timer=20us"):
        predict.parse("timer=20")


def test_a_single_trap_is_enough_to_ask(tmp_path: Path) -> None:
    (found,) = predict.run(synthetic.trace(tmp_path, [early(0)]), predict.parse("timer=1ms"))
    assert found.progress == "no"
    assert np.isfinite(found.penalty_share)
    assert predict.run(synthetic.trace(tmp_path, []), WhatIf()) == []


def test_facts_that_are_lost_are_the_slowest_kernel(tmp_path: Path) -> None:
    recorded = synthetic.trace(tmp_path, loop(400), opening={})
    assert answer(recorded, "timer=13ms") == ["chance"]
    assert answer(recorded, "timer=17ms") == ["yes"]
