"""A finding as JSON: its vCPU, and its times on both clocks."""

import json

import pytest

from sldtrace.capture.live.finding_json import finding_json
from sldtrace.engine.loops import Loop
from sldtrace.host import facts
from sldtrace.model import penalty

KERNEL = penalty.for_kernel("6.12", 4_000_000)


@pytest.mark.parametrize(("vcpu", "said"), [(-1, None), (0, 0), (3, 3)])
def test_a_vcpu_that_is_not_known_is_null(vcpu: int, said: int | None) -> None:
    loop = Loop(tgid=200, tid=201, rip=1, vcpu=vcpu, guest=True, livelock=True, start_ns=5, end_ns=9, loops=1)
    assert json.loads(finding_json(loop, {}, KERNEL, "a.sld"))["subject"]["vcpu"] == said


def test_times_are_on_both_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "clock", lambda: {"monotonic_ns": 100, "realtime_ns": 5_100})
    loop = Loop(tgid=200, tid=201, rip=1, vcpu=0, guest=True, livelock=True, start_ns=5, end_ns=9, loops=1)
    found = json.loads(finding_json(loop, {}, KERNEL, "a.sld"))
    assert (found["start_ns"], found["end_ns"]) == (5, 9)
    assert (found["start_wall_ns"], found["end_wall_ns"]) == (5_005, 5_009)
