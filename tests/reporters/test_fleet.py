"""The report of a fleet: what to fix first, in 80 columns, as JSON by its schema; names are harmless."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sldtrace.fleet import hosts
from sldtrace.fleet.summary import (
    OTHERS,
    Advice,
    Example,
    Host,
    Key,
    Problem,
    Summary,
    Tally,
    Top,
    Unread,
    Vm,
    merge_all,
)
from sldtrace.recording import collect
from sldtrace.reporters import fleet
from tests.analyzers.synthetic import MS, VMM, facts, loop, write
from tests.fleet import fleets
from tests.reporters import cases, rendering
from tests.reporters.test_hostile import NASTY, harmless, storable
from tools import json_schemas


def shown(summary: Summary, others: int = 0) -> str:
    return rendering.as_text(fleet.build(summary, others))


def parsed(summary: Summary, others: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(rendering.as_json(fleet.build(summary, others)))
    Draft202012Validator(json_schemas.made()["fleet"]).validate(made)
    return made


def problem(lost: int, severity: int = 3) -> Problem:
    example = Example(lost, "web01", "vm", "0x7c40", "livelock", "a.sld", (Advice("Do it.", "none", ""),))
    return Problem(Tally(1, 1, 1, 0, lost), severity, example)


def key(kind: str, vmm: str = "qemu", timer: tuple[str, str, str] = ("", "", "")) -> tuple[str, ...]:
    return (kind, vmm, *timer)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Four hosts, and the lab's one."""
    folder = tmp_path_factory.mktemp("fleet")
    found = []
    for number in range(4):
        with collect.open_all([fleets.host(folder / f"{number}.sld", number)]) as collection:
            found.append(hosts.summarize(f"host-{number:04}", collection))
    with collect.open_all(sorted(cases.RECORDINGS.iterdir())) as collection:
        found.append(hosts.summarize("lab", collection))
    return merge_all(found)


def test_the_text_fits_80_columns(small: Summary) -> None:
    text = shown(small)
    assert max(map(len, text.splitlines())) <= 80
    lines = text.splitlines()
    assert lines[0].startswith("3 OF 5 HOSTS ARE AFFECTED: threads lost ")
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert titles[1:] == [
        "What to fix first",
        "Kernels",
        "VMMs and programs",
        "Virtual machines",
        "Addresses",
        "Signals that end penalties",
        "Read",
    ]


def test_json_has_what_the_text_has_and_more(small: Summary) -> None:
    made = parsed(small, 3)
    assert (made["hosts"], made["affected"], made["not_recordings"]) == (5, 3, 3)
    assert made["lost_ns"] == small.lost_ns
    first = made["problems"][0]
    assert (first["kind"], first["severity"], first["lost_ns"]) == ("fatal", "critical", 0)
    assert first["remedies"][0]["command"].startswith("split_lock_detect=warn")
    timers = {each["timer"]["signal"] for each in made["timers"]}
    assert timers == {"SIGUSR1", "SIGALRM"}
    assert {each["release"] for each in made["kernels"]} == {*fleets.KERNELS, "6.12.107+deb13-cloud-amd64"}
    assert made["vms"][0]["name"] == "python3"


def test_what_kills_comes_first_then_what_costs_most() -> None:
    problems = {
        key("early-return-loop"): problem(5),
        key("fatal"): problem(0),
        key("penalty-slowdown"): problem(9, severity=2),
        key("guest-ac"): problem(0, severity=1),
        key("lock-hold"): problem(5, severity=1),
    }
    order = [name[0] for name, _ in fleet.ranked(problems)]
    assert order == ["fatal", "penalty-slowdown", "early-return-loop", "lock-hold", "guest-ac"]


def test_nothing_found_is_good_only_if_all_was_read() -> None:
    good = Summary(hosts=2, recordings=2, files=2)
    assert shown(good).startswith("NO HOST IS AFFECTED: of 2 hosts with recordings\n")
    unread = replace(good, unreadable=Top.of([Unread("a.sld", "a.sld is empty")]))
    for bad in (unread, replace(good, incomplete=1)):
        assert shown(bad).startswith("NO AFFECTED HOST WAS FOUND, BUT NOT ALL WAS READ")
    assert "Not read\n  a.sld is empty\n" in shown(unread)
    assert parsed(unread)["unreadable"] == [{"path": "a.sld", "reason": "a.sld is empty"}]


def test_what_is_left_out_is_counted() -> None:
    addresses: dict[Key, Tally] = {(f"{number:#x}",): Tally(1, 1, 1, 0, number) for number in range(12)}
    many = [Vm("h", f"vm-{number:02}", "qemu", 1, 5, 2, "delayed") for number in range(30)]
    files = [Unread(f"{number:02}.sld", f"{number:02}.sld is empty") for number in range(25)]
    full = Summary(
        hosts=1,
        affected=1,
        severity=2,
        problems={key(f"kind-{number}"): problem(number) for number in range(8)},
        addresses=addresses | {OTHERS: Tally(1)},
        timers={OTHERS: Tally(1, 1, 1, 0, 3)},
        vmms={OTHERS: Tally(1, 1, 1, 0, 3)},
        top_vms=Top.of(many, more=5),
        top_hosts=Top.of([Host("h", "6.12", 5, 1, 0, True)]),
        unreadable=Top.of(files),
    )
    text = shown(full)
    assert "and 3 more problems: see --format json" in text
    assert text.count("  and 3 more: see --format json") == 1  # addresses
    assert "  and 25 more: see --format json" in text  # VMs
    assert "  and 5 more files: see --format json" in text
    made = parsed(full)
    assert made["more_vms"] == 5
    assert (made["vmms"][0]["name"], made["timers"][0]["timer"]) == (None, None)
    assert {each["rip"] for each in made["addresses"]} == {None, *(f"{number:#x}" for number in range(12))}


def test_simulated_and_lost_are_said() -> None:
    text = shown(Summary(hosts=2, simulated=1, lost_records=7, incomplete=1), others=1)
    assert "SIMULATED: 1 host made by sldtrace simulate" in text
    assert "Lost while recording: 7 records" in text
    assert "No recordings: 1 other file" in text


@settings(max_examples=10)
@given(st.lists(st.sampled_from(NASTY), min_size=4, max_size=4))
def test_names_are_harmless(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    host, vm, exe, kernel = map(storable, names)
    opening = facts(host={"name": host}, kernel={"release": kernel, "tick_ns": 4 * MS})
    who = {"comm": "qemu", "exe": exe, "vmm": "qemu", "vm": {"name": vm}}
    opening["processes"] = {str(VMM): who}
    path = write(tmp_path_factory.mktemp("hostile") / "a.sld", loop(200), opening=opening)
    with collect.open_all([path]) as collection:
        found = hosts.summarize(host, collection)
    text = shown(found)
    assert harmless(text)
    assert not any(line.startswith("LIVELOCK: forged") for line in text.splitlines())
    assert max(map(len, text.splitlines())) <= 80
    machine = rendering.as_json(fleet.build(found, 0))
    assert machine.isascii()
    assert harmless(machine)


def test_a_golden_report(tmp_path: Path) -> None:
    """The first step of the report, word for word."""
    with collect.open_all([fleets.host(tmp_path / "a.sld", 0)]) as collection:
        text = shown(hosts.summarize("host-0000", collection))
    assert text.split("\n\n")[1] == (
        "What to fix first\n"
        "  1. early-return-loop in qemu, SIGUSR1 of timer_create every 1 ms (160 ms lost,\n"
        "     1 thread on 1 host; most on host-0000, vm-0000, at 0x7c40): On the host, at\n"
        "     once: switch the penalty off.\n"
        "       sysctl kernel.split_lock_mitigate=0\n"
        "     cost: any VM or program on the host may then slow down memory for all\n"
        "     others by split locks: the penalty prevents that; here (Linux before 6.15)\n"
        "     detection may come back late on other CPUs"
    )
