"""A recording as the analyzers see it: merged facts, span, names, wall time; also where parts are lost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sldtrace.dataset import trace as traces
from sldtrace.errors import SldtraceError
from sldtrace.host.msr import DETECT
from tests.analyzers.synthetic import (
    BLIND,
    CLOSED_NS,
    EARLY,
    FACTS,
    FLAGS,
    GUEST,
    MS,
    START_NS,
    VCPU,
    VMM,
    WALL_NS,
    completed,
    early,
    facts,
    interrupted,
    lasting,
    not_penalized,
    task,
    trace,
    window,
)
from tests.reporters import rendering


def test_updates_are_merged_into_the_groups_that_they_name(tmp_path: Path) -> None:
    updates = [
        {"processes": {"1": {"comm": "a"}}},
        {"processes": {"2": {"comm": "b"}}, "armed_ns": 7},
        {"processes": {"1": {"comm": "c"}}, "probes": []},
    ]
    found = trace(tmp_path, updates=updates).facts
    assert found["processes"] == {"1": {"comm": "c"}, "2": {"comm": "b"}}
    assert (found["armed_ns"], found["probes"]) == (7, [])
    assert found["kernel"] == FACTS["kernel"]


def test_an_update_of_another_type_replaces(tmp_path: Path) -> None:
    found = trace(tmp_path, opening={"a": {"x": 1}, "b": 5}, updates=[{"a": 5, "b": {"y": 2}}]).facts
    assert found == {"a": 5, "b": {"y": 2}}


def test_the_recording_itself_is_not_changed_by_merging(tmp_path: Path) -> None:
    recorded = trace(tmp_path, updates=[{"kernel": {"release": "other"}}])
    assert recorded.text("kernel", "release") == "other"
    assert recorded.recording.facts["kernel"]["release"] == FACTS["kernel"]["release"]


def test_a_fact_that_is_missing(tmp_path: Path) -> None:
    recorded = trace(tmp_path, opening={"odd": 5, "kernel": {"release": None}})
    assert recorded.text("none", "release", otherwise="x") == "x"
    assert recorded.text("odd", "release", otherwise="x") == "x"
    assert recorded.text("kernel", "release", otherwise="x") == "x"
    assert recorded.number("kernel", "tick_ns") is None


@pytest.mark.parametrize("value", [True, -1, 1 << 62, 1.5, "4", None, [4], {"a": 4}])
def test_a_number_that_is_none(tmp_path: Path, value: Any) -> None:
    recorded = trace(tmp_path, opening={"kernel": {"tick_ns": value}}, ended={"seen": {"trap": value}})
    assert recorded.number("kernel", "tick_ns") is None
    assert recorded.closing("seen", "trap") is None


BAD = [None, 5, "x", [], {}, -1, 1e300, 2**70, True, [1], {"a": 1}]

MORE: dict[str, list[dict[str, Any]]] = {
    "stall": [{"ns": START_NS, "end_ns": START_NS + 5, "tgid": VMM, "tid": 7, "caller": 16}],
    "detail": [{"ns": START_NS, "level": 7, "previous": 9, "reason": 44}, {"ns": START_NS + 9, "reason": 3}],
    "counts": [{"ns": START_NS, "isa": 77, "reason": 5, "count": 0}],
}


def members(group: Mapping[str, Any], value: Any) -> list[Any]:
    """That value in the place of a group, then of each of its members."""
    return [value, *({**group, name: value} for name in group)]


def alternatives(value: Any) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """For each group of the opening and of the closing facts what it may say with that value in it."""
    groups = FACTS | {"exits": {}, "processes": {}}
    opening = {
        name: members(group, value) if isinstance(group, dict) else [value] for name, group in groups.items()
    }
    cores = (value, {"0": value}, {"0": value, "1": value})
    opening["cpu"][1:] = [
        {**changed, "cores": each} for changed, each in zip(opening["cpu"][1:], cores, strict=True)
    ]
    opening["kvm"] += [{"functions": value}, {"functions": {"16": value}}]
    opening["probes"] += [[value, {"name": value, "backend": "fentry"}]]
    process = members({"comm": "a", "vmm": "qemu", "cgroup": "/a"}, value)
    vms = members(dict.fromkeys(("name", "uuid", "namespace"), "a"), value)
    opening["processes"] += [{"200": value}]
    opening["processes"] += [{"200": {"vmm": value, "vm": vms[0]}}]
    opening["processes"] += [
        {"200": {**changed, "vm": vm}} for changed, vm in zip(process[1:], vms[1:], strict=True)
    ]
    cost = {"elapsed_ns": 9, "recorder_cpu_ns": 1, "probes_ns": 1, "measured_ns": 9, "memory_bytes": 1}
    closing = {
        "clock": [value, {"monotonic_ns": value, "realtime_ns": value}],
        "cost": members(cost, value),
        "skipped": [value, {"a_probe": value}],
        **{name: [value, {"trap": value}] for name in ("seen", "unfinished", "filtered")},
    }
    return opening, closing


def test_facts_of_any_type_make_a_report(tmp_path: Path) -> None:
    """A file with sound checksums may say anything in its facts.

    Each recording has one alternative of every group. With each value the groups are combined in another
    way, so that what one group hides in one recording is read in others.
    """
    rows, writes = lasting(200 * MS, 40), window(0, 5, cpu=1)
    for shift, value in enumerate(BAD):
        opening, closing = alternatives(value)
        rounds = max(map(len, [*opening.values(), *closing.values()]))
        for number in range(rounds):

            def chosen(groups: Mapping[str, list[Any]], at: int = number, shift: int = shift) -> Any:
                return {
                    name: listed[(at + shift * place) % len(listed)]
                    for place, (name, listed) in enumerate(groups.items())
                }

            folder = tmp_path / f"{shift}-{number}"
            folder.mkdir()
            made = trace(
                folder, rows, opening=chosen(opening), ended=chosen(closing), detection=writes, more=MORE
            )
            content = rendering.built(made)
            assert "\nLIVELOCK: " in rendering.as_text(content)
            found = json.loads(rendering.as_json(content))["findings"]
            assert [finding["verdict"] for finding in found] == ["livelock"]


@pytest.mark.parametrize(
    ("opening", "close", "span"),
    [
        (FACTS, True, (START_NS, CLOSED_NS)),
        (FACTS, False, (START_NS, START_NS + 500 * MS)),
        ({}, True, (START_NS + 100 * MS, CLOSED_NS)),
        ({}, False, (START_NS + 100 * MS, START_NS + 500 * MS)),
    ],
    ids=["whole", "no end", "no facts", "neither"],
)
def test_span(opening: dict[str, Any], close: bool, span: tuple[int, int], tmp_path: Path) -> None:
    rows = [early(100 * MS), early(500 * MS)]
    assert trace(tmp_path, rows, opening=opening, close=close).span_ns == span


def test_span_of_nothing(tmp_path: Path) -> None:
    assert trace(tmp_path, opening={}, ended={}).span_ns == (0, 0)
    assert trace(tmp_path, close=False).span_ns == (START_NS, START_NS)


def test_wall_time(tmp_path: Path) -> None:
    assert trace(tmp_path).wall_ns(START_NS + 5) == WALL_NS + 5
    slewed = {"clock": {"monotonic_ns": CLOSED_NS, "realtime_ns": WALL_NS + CLOSED_NS - START_NS + 2000}}
    assert trace(tmp_path, ended=slewed).wall_ns((START_NS + CLOSED_NS) // 2) == (
        WALL_NS + (CLOSED_NS - START_NS) // 2 + 1000
    )
    assert trace(tmp_path, opening=facts(clock=None), ended={}).wall_ns(5) is None


def test_names_of_process_and_thread(tmp_path: Path) -> None:
    tasks = [task(VMM, b"from task"), task(VCPU, b"CPU\x1b0")]
    recorded = trace(tmp_path, [early(0)], tasks=tasks)
    who = recorded.subject(VMM, VCPU, 3)
    assert (who.process, who.tgid, who.thread, who.tid, who.vcpu) == ("from task", VMM, r"CPU\x1b0", VCPU, 3)
    updates = [{"processes": {str(VMM): {"comm": "from\nproc"}}}]
    assert trace(tmp_path, tasks=tasks, updates=updates).subject(VMM, VCPU, None).process == r"from\nproc"
    unknown = recorded.subject(1, 2, None)
    assert (unknown.process, unknown.thread, unknown.vcpu) == ("", "", None)


def test_traps_are_in_order_of_their_beginning(tmp_path: Path) -> None:
    rows = [completed(60 * MS), completed(30 * MS), completed(0)]
    assert trace(tmp_path, rows).traps["start_ns"].is_monotonic_increasing


MISSED = FLAGS["RETURN_MISSED"]


@pytest.mark.parametrize(
    ("trap", "how"),
    [
        (early(0), "early_return"),
        (early(0, left_ms=1), "early_return"),
        (early(0, left_ms=1, flags=BLIND), "early_return"),
        (early(0, flags=BLIND | MISSED), "early_return"),
        (interrupted(0), "early_return"),
        (interrupted(0, semaphore_result=-1), "early_return"),
        (interrupted(0, semaphore_result=0), ""),
        (early(0, left_ms=0), ""),
        (early(0, left_ms=0, flags=BLIND), "detection_off"),
        (completed(0), "detection_off"),
        (not_penalized(0), "detection_off"),
        (completed(0, flags=BLIND | FLAGS["MSR_CLEARED"] | MISSED), "detection_off"),
        (early(0, left_ms=0, flags=EARLY | GUEST | MISSED), "early_return"),
        (early(0, left_ms=0, flags=BLIND | MISSED), ""),
        (early(0, left_ms=0, flags=(EARLY | MISSED) & ~FLAGS["WARNED"]), ""),
        (early(0, left_ms=0, flags=EARLY | MISSED | FLAGS["MSR_CLEARED"]), "detection_off"),
        (early(0, left_ms=0, flags=GUEST), "fatal"),
        (early(0, left_ms=0, flags=GUEST | FLAGS["MSR_WATCHED"]), "fatal"),
    ],
)
def test_how_a_trap_ended(tmp_path: Path, trap: dict[str, Any], how: str) -> None:
    row = trace(tmp_path, [trap]).traps.iloc[0]
    assert [name for name in ("early_return", "detection_off", "fatal") if row[name]] == (
        [how] if how else []
    )


def test_writes_of_the_msr(tmp_path: Path) -> None:
    found = trace(tmp_path, detection=window(5 * MS, 7 * MS, cpu=3)).detection
    assert found[["ns", "value", "cpu"]].to_numpy().tolist() == [
        [START_NS + 5 * MS, 0, 3],
        [START_NS + 7 * MS, DETECT, 3],
    ]
    assert len(trace(tmp_path).detection) == 0


def test_the_core_of_a_cpu(tmp_path: Path) -> None:
    found = trace(tmp_path, opening=facts(cpu={"cores": {"0": 0, "4": 0, "5": None}}))
    assert [found.core(cpu) for cpu in (0, 4, 5, 6)] == [0, 0, 5, 6]
    assert trace(tmp_path).core(7) == 7


@pytest.mark.parametrize("value", [0, 1, (1 << 62) - 1])
def test_a_number_that_is_one(tmp_path: Path, value: int) -> None:
    recorded = trace(tmp_path, opening={"a": {"b": value}}, ended={"c": {"d": value}})
    assert (recorded.number("a", "b"), recorded.closing("c", "d")) == (value, value)
    assert trace(tmp_path, close=False).closing("c", "d") is None


def test_probes_that_are_none_are_left_out(tmp_path: Path) -> None:
    good = [{"name": "a", "backend": "fentry"}, {"name": "b", "backend": ""}]
    bad: list[Any] = [5, {"name": "c"}, {"backend": "fentry"}, {"name": 5, "backend": ""}]
    assert trace(tmp_path, opening={"probes": bad + good}).probes == [("a", "fentry"), ("b", "")]
    assert trace(tmp_path, opening={"probes": good}, updates=[{"probes": good[:1]}]).probes == [
        ("a", "fentry")
    ]
    assert trace(tmp_path, opening={}).probes == []


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SldtraceError, match="does not exist"):
        traces.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("known", "called"),
    [
        ({"name": "web01", "id": "3", "uuid": "0f"}, "web01"),
        ({"name": "web01", "namespace": "prod"}, "prod/web01"),
        ({"name": None, "id": "fc-7", "uuid": "0f", "namespace": "prod"}, "fc-7"),
        ({"name": "", "id": 7, "uuid": "0f"}, "0f"),
        ({"name": "a\nb"}, r"a\nb"),
        ({"name": ["web01"], "pod": "0f"}, ""),
        ({}, ""),
        (None, ""),
        ("web01", ""),
    ],
)
def test_what_the_vm_is_called(known: Any, called: str, tmp_path: Path) -> None:
    updates = [{"processes": {str(VMM): {"vmm": "qemu", "vm": known}}}]
    who = trace(tmp_path, updates=updates).subject(VMM, VCPU, None)
    assert (who.vm, who.vmm) == (called, "qemu")
