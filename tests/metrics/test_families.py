"""The metrics of a recorder: units, labels, and that the families do not depend on what happened."""

import numpy as np

from sldtrace.capture.live.detector import Detector
from sldtrace.capture.recorder import Status
from sldtrace.metrics import families
from sldtrace.metrics.totals import COUNTED, Counts, Owner, Totals
from sldtrace.model import penalty
from tests.analyzers.synthetic import TICK


def watched(**owners: Owner) -> Totals:
    totals = Totals(Detector(penalty.for_kernel("6.12", TICK), {0: 0}), 10)
    values = np.arange(1, len(COUNTED) + 1) * 1_000_000_000
    totals.detection_off_ns = 1_500_000_000
    totals.counts = {owner: Counts(5_000_000_000, values, livelocked=2) for owner in owners.values()}
    return totals


def test_counters_of_vms_and_programs() -> None:
    totals = watched(vm=Owner("web-1", True), program=Owner("steam", False))
    found = {each.name: each for each in families.of(totals, Status(lost=4, cpu=2.5), 7 * 10**9, 9 * 10**9)}
    traps = found["sldtrace_traps"]
    assert traps.samples == [({"vm": "web-1"}, 10**9), ({"program": "steam"}, 10**9)]
    assert traps.created == [({"vm": "web-1"}, 5.0), ({"program": "steam"}, 5.0)]
    assert found["sldtrace_penalty_sleep_seconds"].samples[0][1] == COUNTED.index("slept_ns") + 1
    assert found["sldtrace_penalty_wait_seconds"].samples[0][1] == COUNTED.index("waited_ns") + 1
    assert found["sldtrace_livelocked_threads"].samples[0] == ({"vm": "web-1"}, 2)
    off = found["sldtrace_detection_off_core_seconds"]
    assert (off.kind, off.samples, off.created) == ("counter", [({}, 1.5)], [({}, 7.0)])
    assert found["sldtrace_recorder_lost_records"].samples == [({}, 4)]
    assert found["sldtrace_recorder_cpu_ratio"].samples == [({}, 0.025)]
    assert found["sldtrace_recorder_written_time_seconds"].samples == [({}, 9.0)]


def test_each_field_that_is_counted_has_a_metric() -> None:
    assert {field for field, _, _ in families._OF_OWNERS.values()} == set(COUNTED)


def test_without_traps_there_are_the_same_families() -> None:
    quiet, busy = watched(), watched(vm=Owner("web-1", True))
    names = [[each.name for each in families.of(totals, Status(), 1, 2)] for totals in (quiet, busy)]
    assert names[0] == names[1]
