"""Logs as people have them, each with the answer to the question that comes with it."""

import bz2
import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sldtrace.commands import log as command
from sldtrace.kernlog import verdict
from sldtrace.kernlog.parties import Party
from sldtrace.kernlog.survey import Survey
from sldtrace.kernlog.verdict import Verdict
from tests.kernlog.read import survey

CASES = Path(__file__).parent / "data" / "cases"
S = 10**9


def case(name: str) -> bytes:
    return (CASES / f"{name}.log").read_bytes()


def judged(name: str) -> tuple[Survey, Verdict]:
    found = survey(case(name))
    return found, verdict.conclude(found)


def threads(found: Survey) -> list[tuple[str, int, list[int]]]:
    return [(each.name, each.tid, list(each.addresses)) for each in found.traps()]


def commands(judgement: Verdict) -> list[str]:
    return [each.command.split(" -")[0] for each in judgement.remedies if each.command]


def only(parties: list[Party]) -> Party:
    (party,) = parties
    return party


def is_program(found: Survey, judgement: Verdict) -> None:
    party = only(judgement.parties)
    assert threads(found) == [
        ("StreetFighter6.", 47861, [0x16886C89A]),
        ("StreetFighter6.", 47930, [0x15F853006]),
        ("StreetFighter6.", 47947, [0x1684DDE0A]),
    ]
    assert (party.name, party.attribution.who) == ("StreetFighter6.", "program")
    assert (party.first.boot_ns, party.last.boot_ns) == (41_786_661_399_000, 41_789_268_254_000)
    assert judgement.sentence.startswith("SPLIT LOCKS OF A PROGRAM, not of a guest: 3 threads of Street")
    assert "10 ms" in judgement.matters[0]
    assert commands(judgement) == [
        "sysctl kernel.split_lock_mitigate=0", "sldtrace record", "split_lock_detect=off"
    ]  # fmt: skip
    assert all(each.cost for each in judgement.remedies)
    assert [mode.name for mode in found.boots[0].modes] == ["warn"]


@pytest.mark.parametrize(
    "pack",
    [
        bytes, bz2.compress, gzip.compress,
        lambda data: b"\xff\xfe" + data.replace(b"\n", b"\r\n").decode().encode("utf-16-le"),
    ],
)  # fmt: skip
def test_a_program(pack: object) -> None:
    assert callable(pack)
    found = survey(pack(case("program")))
    is_program(found, verdict.conclude(found))


def test_29_vcpus_of_one_vm() -> None:
    found, judgement = judged("one-vm")
    party = only(judgement.parties)
    assert (len(party.threads), party.is_vm, dict(party.addresses)) == (29, True, {0x5692286F: 29})
    assert judgement.sentence == (
        "GUEST SPLIT LOCKS: 29 vCPUs of probably one VM, one address (0x5692286f), within 72.7 s"
    )
    assert found.other == 0


def test_vcpus_without_names() -> None:
    _, judgement = judged("unnamed-vcpus")
    party = only(judgement.parties)
    assert (party.attribution.who, party.attribution.certainty) == ("guest", "probable")
    assert judgement.kind == verdict.GUESTS
    assert "program" not in judgement.sentence


def test_a_vmm_that_is_not_kvm() -> None:
    found, judgement = judged("vmware")
    party = only(judgement.parties)
    assert (party.name, party.attribution.who, len(party.threads)) == ("VMware itself", "VMM", 3)
    assert judgement.kind == verdict.PROGRAMS
    assert found.suppressed == {"split_lock_warn": 35}
    assert any("before 5.19 there is no penalty" in text for text in judgement.matters)
    assert found.hosts == [""]


def test_real_mode_beside_a_panic() -> None:
    found, judgement = judged("real-mode")
    assert judgement.kind == verdict.GUESTS
    assert [each.first.boot_ns for each in found.traps()] == [180442663000, 217823350000, 234463750000]
    assert {party.attribution.certainty for party in judgement.parties} == {"certain"}
    assert not found.oopses


def test_a_line_that_mail_wrapped() -> None:
    found, judgement = judged("wrapped")
    assert threads(found) == [("qemu-system-x86", 24383, [0x400306])]
    assert (judgement.understood, found.matched_lines, found.other) == (True, 2, 0)


def test_three_vms() -> None:
    found, judgement = judged("three-vms")
    assert "3 vCPUs of probably 3 VMs" in judgement.sentence
    assert [each.first.boot_ns for each in found.traps()] == [12345678000000, 12346111000000, 12347222000000]
    assert (found.matched_lines, found.other) == (3, 1)


def test_detection_is_off() -> None:
    found, judgement = judged("off")
    assert (judgement.kind, judgement.understood, commands(judgement)) == (verdict.OFF, True, [])
    (boot,) = found.boots
    assert (boot.kernel, boot.option, [mode.name for mode in boot.modes]) == (
        "5.19.0-32-generic", "off", ["off"]
    )  # fmt: skip


def test_the_words_of_old_kernels() -> None:
    found, judgement = judged("before-5.13")
    assert [[mode.name for mode in boot.modes] for boot in found.boots] == [["warn"], ["fatal"]]
    assert [each.lines for each in found.traps()] == [2]
    assert found.suppressed == {"split_lock_warn": 118}
    assert "no penalty" in judgement.matters[0]
    assert verdict.NEVER_RATES not in judgement.limits
    assert not any("mitigate" in each or "record" in each for each in commands(judgement))


def test_a_bus_lock_is_not_penalized() -> None:
    found, judgement = judged("short-monotonic")
    assert (judgement.kind, found.boots[0].kernel, found.hosts) == (verdict.BUS_LOCKS, "6.18-amd64", [""])
    assert [each.first.boot_ns for each in found.traps()] == [3521004411000]
    assert "never puts the thread to sleep" in judgement.matters[0]
    assert commands(judgement) == ["split_lock_detect=off"]


def test_the_log_of_a_guest() -> None:
    _, judgement = judged("guests-own")
    assert judgement.matters[0].startswith("The log is that of a guest's kernel (Hypervisor detected: KVM)")
    assert "in this guest" in judgement.sentence
    assert not any("record" in each for each in commands(judgement))


def test_a_severity_is_not_a_host() -> None:
    found, judgement = judged("severities")
    assert (found.hosts, len(found.boots)) == ([""], 1)
    assert "2 vCPUs of probably one VM" in judgement.sentence
    assert [each.first.wall_ns for each in found.traps()] == [1701023624190459000, 1701023624190472000]
    assert found.suppressed == {"split_lock_warn": 12}
    assert "no penalty" in judgement.matters[0]


def test_lines_that_are_glued_and_torn() -> None:
    found, judgement = judged("torn")
    assert threads(found) == [(f"CPU {n}/KVM", 4101 + n, [0x7C40]) for n in range(3)]
    assert [each.first.boot_ns for each in found.traps()] == [101000100000, 101000180000, 102500000000]
    assert judgement.understood


def test_the_journal_for_people() -> None:
    found, _ = judged("json-pretty")
    (thread,) = found.traps()
    assert (thread.vcpu, thread.tid, thread.host) == (5, 3495, "pve")
    assert thread.first.wall_ns == 1767225600123456000
    assert found.boots[0].id == "b39d7eeb17922499aadf23165e93d76f"
    assert dict(found.forms) == {"journalctl -o json-pretty": 1}


def test_crlf_in_gzip() -> None:
    found = survey(gzip.compress(case("game").replace(b"\n", b"\r\n")))
    (party,) = verdict.conclude(found).parties
    assert (len(party.threads), dict(party.addresses)) == (10, {0x7F124DECE00C: 10})
    assert found.suppressed == {"split_lock_warn": 2}
    assert not any("\r" in name for name, _, _ in threads(found))


@pytest.mark.parametrize("name", ["colours", "dmesg-json"])
def test_colours_and_json_of_dmesg(name: str) -> None:
    found, _ = judged(name)
    assert [(each.name, each.tid, each.first.boot_ns) for each in found.traps()] == [
        ("StreetFighter6.", 47861, 41786661399000),
        ("CPU 0/KVM", 47930, 41788750104000),
    ]
    assert found.suppressed == {"split_lock_warn": 7}
    assert [mode.name for mode in found.boots[0].modes] == ["warn"]


def test_repeated_messages_count() -> None:
    found, judgement = judged("repeated")
    assert [each.lines for each in found.traps()] == [10]
    assert found.suppressed == {"handle_bus_lock": 1204}
    assert verdict.BUS_LINES in judgement.limits


def test_quoted_lines() -> None:
    found, _ = judged("quoted")
    assert [(each.host, each.first.text) for each in found.traps()] == [
        ("host", "May 04 12:40:01"), ("k8s-master", "Jun 17 04:30:00")
    ]  # fmt: skip


def test_names_of_any_form() -> None:
    found, judgement = judged("names")
    assert [(name, tid) for name, tid, _ in threads(found)] == [
        ("Thread (pooled)", 7101), ("[vkps] Update", 7102), (":disk$0", 7103), ("(guest)/4 took a", 7104),
        ("CPU 0/TCG", 7105),
    ]  # fmt: skip
    assert judgement.kind == verdict.PROGRAMS
    assert [party.name for party in judgement.parties][-1] == "QEMU itself"


def test_times_of_short_delta() -> None:
    found, _ = judged("short-delta")
    assert [(each.host, each.first.boot_ns) for each in found.traps()] == [
        ("pve1", 688792264000), ("pve1", 701292264000), ("pve1", 701392264000)
    ]  # fmt: skip


def test_the_kernels_own_word_counts_most() -> None:
    found, judgement = judged("origin")
    assert [each.attribution.who for each in found.traps()] == ["guest", "VMM"]
    assert judgement.sentence == (
        "GUEST SPLIT LOCKS: vCPU 1, CPU 1/KVM (TID 65886), one address (0x401173); "
        "and 1 thread of QEMU itself"
    )


def test_only_suppressed_messages() -> None:
    found, judgement = judged("only-suppressed")
    assert judgement.kind == verdict.SUPPRESSED_ONLY
    assert found.suppressed == {"split_lock_warn": 35, "handle_bus_lock": 4312}
    assert "35 of split_lock_warn, 4,312 of handle_bus_lock" in judgement.sentence


@pytest.mark.parametrize("path", sorted(CASES.glob("*.log")), ids=lambda path: path.stem)
def test_each_report_answers_all_questions(path: Path) -> None:
    text = CliRunner(env={"COLUMNS": "100"}).invoke(command.log, [str(path)])
    assert text.exit_code == 0, text.output
    titles = [line for line in text.output.splitlines() if line and not line.startswith(" ")]
    assert {"Does it matter", "Read"} <= set(titles)
    assert ("To whom it happened" in titles) is ("Threads, in the order of the log" in titles)
    content = json.loads(CliRunner().invoke(command.log, [str(path), "--format=json"]).output)
    assert content["verdict"]["understood"]
    assert content["lines"]["read"] == content["lines"]["with_message"] + content["lines"]["other"]
    assert sum(content["lines"]["forms"].values()) == sum(content["lines"]["matched"].values())
