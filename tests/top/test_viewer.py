"""The viewer without a terminal: which looks it prints, and how it ends."""

import json
from typing import Any

import pytest

from sldtrace.capture.live.detector import Detector
from sldtrace.model import penalty
from sldtrace.top.viewer import Options, Viewer
from tests.analyzers.synthetic import MS, START_NS, TICK, array, loop

SECOND = 1_000 * MS


def watched(options: Options, seconds: int = 6) -> tuple[list[bool], Any]:
    """A livelock, looked at four times a second; what each look returned."""
    detector = Detector(penalty.for_kernel("6.12", TICK), {}, longest_pause_ns=SECOND)
    traps = array("trap", loop(1000 * seconds))
    viewer, before, found = Viewer(options, "kvm-1", "mode warn, mitigate 1"), START_NS, []
    for quarter in range(1, 4 * seconds + 1):
        now = START_NS + quarter * SECOND // 4
        detector.add("trap", traps[(traps["end_ns"] >= before) & (traps["end_ns"] < now)])
        detector.advance(now)
        found.append(viewer.look(now, now + 7, detector, lambda _: {"comm": "qemu"}, 2, 0.5))
        before = now
        if found[-1]:
            break
    viewer.close()
    return found, viewer


def test_a_line_of_json_at_each_interval(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = watched(Options(SECOND, as_json=True))
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [look["ns"] - START_NS for look in looks] == [(at + 1) * SECOND + SECOND // 4 for at in range(5)]
    assert not any(found)
    last = looks[-1]
    assert (last["host"], last["lost"], last["cpu_percent"]) == ("kvm-1", 2, 0.5)
    assert last["wall_ns"] == last["ns"] + 7
    (vm,), (thread,) = last["vms"], last["threads"]
    assert (vm["name"], vm["verdict"], thread["vcpu"]) == ("qemu", "livelock", 0)
    assert thread["traps_per_s"] == pytest.approx(1000, rel=0.01)


def test_it_ends_after_the_number_of_looks(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = watched(Options(SECOND, count=2))
    assert found[-1]
    assert not any(found[:-1])
    assert capsys.readouterr().out.count("sldtrace top  kvm-1") == 2


def test_messages_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    viewer = Viewer(Options(SECOND), "kvm-1", "mode warn")
    viewer.message("warning: x")
    assert capsys.readouterr().err == "sldtrace: warning: x\n"
