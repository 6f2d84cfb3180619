"""Attaching late, two recorders at once, a killed one, a filter, an alarm; and all that can be missing."""

import itertools
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import load
from sldtrace.errors import EXIT_FINDING
from sldtrace.recording import schema
from sldtrace.recording.reader import Recording, open_recording
from tests.conftest import Scenario

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def until(limits: Scenario) -> Recording:
    return open_recording(limits.folder / "until.sld")


def hits(protocol: dict[str, Any], pid: int) -> int:
    """Traps of a guest with one vCPU, by the kernel's count."""
    tids = {one["tid"] for one in protocol["guests"].values() if one["pid"] == pid}
    return sum(count for tid, count in protocol["counted"]["counter/traps"]["rows"] if tid in tids)


def test_attached_late_and_to_one_process(limits: Scenario) -> None:
    """Killed in the end: the file opens, and misses what came in the last second at most."""
    trace = load(limits.folder / "late.sld")
    late = limits.protocol["late"]
    assert late["status"] == -9
    assert trace.recording.closing is None
    assert set(trace.traps["tgid"]) == {late["pid"]}
    assert limits.protocol["guests"]["other"]["kvm_runs"] > 100
    # While the other recorder compiles, the vCPU may be late for its signals, and completes some penalties.
    finding, *others = catalogue.run(trace)
    assert {each.kind for each in others} <= {"penalty-slowdown"}
    assert finding.verdict == "livelock"
    assert finding.subject
    assert finding.subject.tid == late["tid"]
    assert trace.traps.iloc[0]["start_ns"] - trace.span_ns[0] < 100_000_000


def test_two_recorders_both_see_everything(limits: Scenario, until: Recording) -> None:
    """Each trap, by the kernel's own trace: from the first to the last that the killed one had written."""
    trace = load(limits.folder / "late.sld")
    late = limits.protocol["late"]
    assert late["poll"] is None  # it went on when the other one had left
    assert limits.protocol["counted"]["trace lost"] == 0
    text = (limits.folder / "late.trace").read_text()
    times = [float(ns) * 1e9 for ns in re.findall(rf"-{late['tid']} .* (\d+\.\d+): traps: ", text)]
    first, last = trace.traps["start_ns"].min(), trace.traps["start_ns"].max()
    counted = sum(first - 300_000 < each < last + 300_000 for each in times)
    # The kernel may skip a probe while another vCPU preempts it there; that is counted, too.
    losses = trace.recording.losses
    assert {each.cause for each in losses} <= {"unfinished", "skipped"}
    lost = sum(each.count for each in losses)
    assert len(trace.traps) + lost == counted > 3000
    assert lost <= 10
    assert [each for each in until.losses if each.kind == "trap"] == []
    traps = until.records("trap")
    survivor = limits.protocol["guests"]["survivor"]["pid"]
    assert len(traps[traps["tgid"] == survivor]) == hits(limits.protocol, survivor) > 10


def test_what_was_asked_for_is_recorded_and_nothing_else(limits: Scenario, until: Recording) -> None:
    """The others are of another cgroup, another address, or another name; each of them trapped."""
    guests = limits.protocol["guests"]
    assert all(hits(limits.protocol, guests[name]["pid"]) > 5 for name in guests)
    wanted = {guests["survivor"]["pid"], guests["caught"]["pid"]}
    for kind in ("trap", "task", "exit", "counts", "user_exit", "migrate"):
        assert set(until.records(kind)["tgid"].tolist()) <= wanted, kind
    assert set(until.records("trap")["tgid"].tolist()) == wanted
    assert until.facts["filters"]["cgroup"] == limits.protocol["cgroup"]["path"]


def test_a_livelock_ends_the_recording(limits: Scenario, until: Recording) -> None:
    protocol = limits.protocol["until"]
    assert protocol["status"] == EXIT_FINDING == 3
    assert until.closing is not None
    assert until.closing["ended_by"] == "finding"
    caught = limits.protocol["guests"]["caught"]
    found = catalogue.run(load(limits.folder / "until.sld"))
    (finding,) = [each for each in found if each.verdict == "livelock"]
    assert finding.subject
    assert finding.subject.tid == caught["tid"]
    said = [line for line in protocol["stderr"] if "found: livelock" in line]
    assert len(said) == 1
    assert f"(PID {caught['pid']})" in said[0]


def test_the_command_gets_the_finding(limits: Scenario) -> None:
    caught, printed = limits.protocol["guests"]["caught"], limits.protocol["until"]["finding"]
    assert (printed["kind"], printed["verdict"], printed["severity"]) == (
        "early-return-loop",
        "livelock",
        "critical",
    )
    assert (printed["subject"]["tgid"], printed["subject"]["tid"]) == (caught["pid"], caught["tid"])
    assert printed["rip"] == caught["locked_address"]
    assert printed["recording"].endswith("until.sld")


def steps(until: Recording) -> list[tuple[str, str]]:
    enums = schema.current().enums
    return [
        (enums["level"].name_of(int(row["level"])), enums["reason"].name_of(int(row["reason"])))
        for row in until.records("detail")
    ]


def test_detail_comes_with_the_trap_and_goes_when_it_is_calm(limits: Scenario, until: Recording) -> None:
    assert steps(until) == [
        ("traps", "start"),
        ("exits", "trap"),
        ("traps", "idle"),
        ("exits", "trap"),
    ]
    few, many, again, more = until.records("detail")["probes"].tolist()
    assert few == again < many == more
    idle = until.records("detail")[2]
    assert idle["measured"] >= idle["limit"] == 2_000_000_000


def test_what_was_attached_again_works_again(limits: Scenario, until: Recording) -> None:
    def watched(name: str) -> Any:
        rows = until.records("exit")
        return rows[rows["tgid"] == limits.protocol["guests"][name]["pid"]]

    for name in ("survivor", "caught"):
        assert len(watched(name)) > 10, name
    # What was left over from before says nothing about the new guest.
    assert int(watched("caught")["guest_ns"].max()) < 100_000_000
    assert int(watched("caught")["host_ns"].max()) < 200_000_000
    traps = until.records("trap")
    flags = schema.current().enums["trap_flags"].values
    late = traps[traps["tgid"] == limits.protocol["guests"]["caught"]["pid"]]
    assert (late["flags"] & np.uint32(flags["EXITS_WATCHED"]) != 0).mean() > 0.5


def span_ns(traps: Any) -> int:
    return int(traps["end_ns"].max() - traps["start_ns"].min())


def test_what_is_kept_and_what_was_let_go_is_all(limits: Scenario) -> None:
    limited = limits.protocol["limited"]
    named = limited["guests"]["named"]["pid"]
    with open_recording(limits.folder / "kept.sld") as recording:
        traps, discarded, closing = recording.records("trap"), recording.discarded, recording.closing
        assert recording.losses == []
        assert recording.facts["filters"] == {"vm": "web-1"}
    assert set(traps["tgid"].tolist()) == {named}  # and nothing of the VM that has no name
    assert discarded is not None
    assert discarded.limit_ns == 1_000_000_000
    assert discarded.records["trap"] > 1000
    assert len(traps) + discarded.records["trap"] == hits(limited, named) > 5000
    # The last second, and a little more than was asked for: chunks go together, 64 KiB at least.
    assert closing is not None
    assert 900_000_000 < closing["clock"]["monotonic_ns"] - int(traps["start_ns"].min()) < 4_500_000_000
    (finding,) = catalogue.run(load(limits.folder / "kept.sld"))
    assert finding.subject
    assert (finding.verdict, finding.subject.vm) == ("livelock", "web-1")


def test_rotated_files_go_on_from_each_other(limits: Scenario) -> None:
    files = [open_recording(path) for path in sorted(limits.folder.glob("rotated.*.sld"))]
    assert len(files) == 3
    numbers = [each.facts["segment"]["number"] for each in files]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert numbers[0] > 1  # older ones have been deleted
    for one, following in itertools.pairwise(files):
        before = one.facts["segment"]["before"]["trap"] + len(one.records("trap"))
        assert following.facts["segment"]["before"]["trap"] == before
    spans = [span_ns(traps) for each in files if len(traps := each.records("trap"))]
    assert 1_500_000_000 < max(spans) < 3_500_000_000
    last = files[-1]
    every = last.facts["segment"]["before"]["trap"] + len(last.records("trap"))
    assert every == limits.protocol["limited"]["counted"]["counter/traps"]["hits"]


def test_a_killed_recorder_says_so_in_the_report(limits: Scenario) -> None:
    command = [sys.executable, "-m", "sldtrace", "report", str(limits.folder / "late.sld")]
    text = subprocess.run(command, capture_output=True, text=True).stdout
    assert "\nLIVELOCK: vCPU 0 of python3" in text


def test_threads_whose_tids_are_apart_by_a_power_of_two(limits: Scenario) -> None:
    """Two VMs of 8 vCPUs: each thread has its traps and its exits, as many as the kernel counted."""
    apart = limits.protocol["apart"]
    first, second = (set(tids) for tids in apart["tids"].values())
    assert len({tid % 4096 for tid in first} & {tid % 4096 for tid in second}) >= 8
    counted = dict(apart["counted"]["counter/traps"]["rows"])
    assert len(counted) == 16
    assert counted.keys() <= first | second
    with open_recording(limits.folder / "apart.sld") as recording:
        assert recording.losses == []
        traps, exits = recording.records("trap"), recording.records("counts")
    assert dict(zip(*np.unique(traps["tid"], return_counts=True), strict=True)) == counted
    assert set(exits["tid"].tolist()) == counted.keys()
    found = catalogue.run(load(limits.folder / "apart.sld"))
    assert {
        each.subject.tid for each in found if each.kind == "early-return-loop" and each.subject
    } == counted.keys()


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("not root", 1, "recording needs the right to trace the kernel; run it as root"),
        ("no tracefs", 1, "tracefs is not mounted; mount -t tracefs tracefs /sys/kernel/tracing"),
        ("no bcc", 1, "the Python module bcc cannot be used (not found); apt install python3-bpfcc"),
        ("no kvm", 1, "/dev/kvm"),
        ("exists", 1, "refused.sld exists; use --force to overwrite it"),
        ("no such pid", 2, "there is no process 99999"),
        ("a folder", 1, "/tmp/out/limits is a directory"),
        ("no folder", 1, "/nowhere/x.sld: No such file or directory"),
    ],
)
def test_what_is_missing_is_one_line(limits: Scenario, what: str, status: int, said: str) -> None:
    refusal = limits.protocol["refusals"][what]
    assert refusal["status"] == status
    *_, last = refusal["stderr"].splitlines()
    assert said in last
    assert last.startswith("sldtrace: ")
    assert "Traceback" not in refusal["stderr"]
    assert refusal["left"] == (what == "exists")


def test_nothing_stays_attached(limits: Scenario) -> None:
    assert limits.protocol["left"]["after"] == limits.protocol["left"]["before"]
