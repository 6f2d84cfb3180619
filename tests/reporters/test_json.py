"""The report for programs: the same numbers as in the analyzers, as JSON types."""

from pathlib import Path

from sldtrace.analyzers import threads
from sldtrace.analyzers.findings import catalogue
from sldtrace.recording import schema
from sldtrace.reporters import excerpt
from sldtrace.reporters.json import plain
from tests.analyzers.synthetic import (
    CLOSED_NS,
    FACTS,
    MS,
    START_NS,
    VCPU,
    VMM,
    WALL_NS,
    completed,
    facts,
    loop,
    task,
    trace,
)
from tests.reporters import cases
from tests.reporters.rendering import parsed as render


def test_a_finding_has_its_numbers_and_its_evidence(tmp_path: Path) -> None:
    recorded = trace(tmp_path, loop(200), tasks=[task(VCPU, b"CPU 0/KVM"), task(VMM, b"qemu")])
    (finding,) = catalogue.run(recorded)
    (found,) = render(recorded)["findings"]
    assert found["numbers"] == plain(finding.numbers)
    assert all(fact.keys() == {"label", "text"} for fact in found["facts"])
    assert found["evidence_count"] == len(finding.evidence)
    assert (found["kind"], found["severity"], found["verdict"]) == (
        "early-return-loop",
        "critical",
        "livelock",
    )
    assert found["subject"] == vars(finding.subject)
    assert found["rip"] == "0x7c40"
    assert (found["start_ns"], found["end_ns"]) == (finding.start_ns, finding.end_ns)
    assert found["start_wall_ns"] == WALL_NS
    assert found["end_wall_ns"] == WALL_NS + finding.end_ns - START_NS
    assert found["cause"] == finding.cause
    assert found["remedies"] == plain(finding.remedies)
    rows = recorded.recording.records("trap")
    shown = [*rows[: excerpt.FIRST], *rows[-excerpt.LAST :]]
    assert len(found["evidence"]) == len(shown)
    for row, record in zip(found["evidence"], shown, strict=True):
        expected = {name: int(record[name]) for name in record.dtype.names}
        assert {name: row[name] for name in expected} == expected | {"rip": found["rip"]}
        assert (row["guest"], row["slept"], row["msr_cleared"]) == (True, True, False)


def test_an_address_of_64_bits_is_not_rounded(tmp_path: Path) -> None:
    high = 0xFFFF_FFFF_8123_4567
    (found,) = render(trace(tmp_path, loop(200, rip=high)))["findings"]
    assert found["rip"] == "0xffffffff81234567"
    assert {row["rip"] for row in found["evidence"]} == {found["rip"]}


def test_the_recording_describes_itself(tmp_path: Path) -> None:
    lost = [{"ns": START_NS, "cpu": 1, "kind": 1, "cause": 1, "count": count} for count in (3, 4)]
    found = render(trace(tmp_path, [completed(0)], lost=lost, updates=[{"armed_ns": 5}]))
    recording = found["recording"]
    assert recording["facts"] == {**FACTS, "armed_ns": 5}
    assert (recording["start_ns"], recording["end_ns"]) == (START_NS, CLOSED_NS)
    counts = {kind: count for kind, count in recording["counts"].items() if count}
    assert counts == {"trap": 1, "detection": 2, "lost": 2}
    assert recording["counts"].keys() == schema.current().records.keys()
    assert recording["losses"] == [{"kind": "trap", "cause": "ring_full", "cpu": 1, "count": 7}]
    assert recording["closing"]["ended_by"] == "SIGINT"
    assert recording["warnings"] == []
    assert found["findings"] == []


def test_a_recording_without_an_end_and_without_facts(tmp_path: Path) -> None:
    found = render(trace(tmp_path, loop(200), opening={}, close=False))
    assert found["recording"]["closing"] is None
    assert len(found["recording"]["warnings"]) == 1
    assert found["findings"][0]["start_wall_ns"] is None
    assert found["recording"]["start_ns"] == START_NS


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    opening = facts(split_lock={"mitigate": None})
    found = render(trace(tmp_path, [completed(0, vcpu=-1), *loop(200, 20 * MS, vcpu=-1)], opening=opening))
    assert found["findings"][0]["subject"]["vcpu"] is None
    assert found["threads"][0]["vcpu"] is None
    assert found["recording"]["facts"]["split_lock"]["mitigate"] is None


def test_threads_are_those_of_the_summary(tmp_path: Path) -> None:
    recorded = trace(tmp_path, [completed(0), completed(30 * MS), completed(60 * MS, tid=9, vcpu=4)])
    summary = threads.summarize(recorded, catalogue.run(recorded))
    assert render(recorded)["threads"] == summary.to_dict("records")


def test_a_cpu_that_is_not_known_is_null(tmp_path: Path) -> None:
    lost = [{"ns": START_NS, "cpu": 0xFFFF_FFFF, "kind": 1, "cause": 4, "count": 3}]
    (loss,) = render(trace(tmp_path, [completed(0)], lost=lost))["recording"]["losses"]
    assert loss == {"kind": "trap", "cause": "skipped", "cpu": None, "count": 3}


def test_values_of_an_msr_are_hexadecimal_too(tmp_path: Path) -> None:
    recorded = cases.storm(tmp_path)
    found = next(each for each in render(recorded)["findings"] if each["evidence_kind"] == "detection")
    assert {row["value"] for row in found["evidence"]} == {"0x0", "0x20000000"}
