"""Predictions in words and as JSON."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from sldtrace.dataset.trace import Trace
from sldtrace.prediction import modes, predict
from sldtrace.reporters import what_if
from tests.analyzers.synthetic import MS, VCPU, VMM, completed, loop, task, trace
from tests.reporters.rendering import as_json, as_text
from tools import json_schemas

CHANGES = ["timer=20ms", "mitigate=0", "fix=uninterruptible"]


def recorded(folder: Path, comm: bytes = b"qemu-system-x86") -> Trace:
    rows = loop(400) + [completed(index * 40 * MS, tid=VCPU + 1, start_cpu=1) for index in range(10)]
    return trace(folder, rows, tasks=[task(VMM, comm), task(VCPU, b"CPU 0/KVM")])


def answers(made: Trace, *texts: str) -> what_if.Answers:
    return [(change, predict.run(made, change)) for change in map(predict.parse, texts)]


def test_a_section_for_each_change_and_a_line_for_each_thread(tmp_path: Path) -> None:
    made = recorded(tmp_path)
    text = as_text(what_if.build(made, answers(made, *CHANGES)), 100)
    sections = text.split("WHAT IF ")[1:]
    assert [section.splitlines()[0] for section in sections] == CHANGES
    for section in sections:
        assert f"1 qemu-system-x86 (PID {VMM}, TID {VCPU})" in section
        assert f"2 qemu-system-x86 (PID {VMM}, TID {VCPU + 1})" in section
    assert "SIGUSR1 periodic 1 ms" in text
    assert "none seen" in text
    assert "too late to end it early (12 ms)" in sections[0]
    assert "split locks have no penalty" in sections[1]
    assert "No such kernel exists" in " ".join(sections[2].split())
    assert "No such kernel exists" not in sections[0] + sections[1]
    assert "Linux 6.12.48+deb13-amd64, HZ=250" in text
    assert not text.startswith("SIMULATED")


def test_a_row_for_each_vm_and_what_each_mode_would_do_to_it(tmp_path: Path) -> None:
    made = recorded(tmp_path)
    report = what_if.build(made, [], [modes.run(made, 25)])
    text = " ".join(as_text(report, 160).split())
    assert "WHAT IF split_lock_detect=off, warn, fatal, ratelimit:25" in text
    assert f"qemu-system-x86 (PID {VMM})" in text
    assert "livelock: 1 of 2 threads" in text
    assert "VMM killed" in text
    content = json.loads(as_json(report))
    (audit,) = content["modes"]
    assert (audit["limit"], len(audit["outlooks"]), content["what_if"]) == (25, 1, [])
    assert audit["outlooks"][0]["livelocked"] == 1


def test_an_audit_of_nothing(tmp_path: Path) -> None:
    made = trace(tmp_path, [])
    text = as_text(what_if.build(made, [], [modes.run(made, 10)]), 100)
    assert "no split-lock trap and no bus lock" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_words_fit_the_terminal(width: int, tmp_path: Path) -> None:
    made = recorded(tmp_path)
    lines = as_text(what_if.build(made, answers(made, *CHANGES)), width).splitlines()
    assert max(map(len, lines)) <= width


def test_no_thread_trapped(tmp_path: Path) -> None:
    made = trace(tmp_path, [])
    assert "This recording has no split-lock trap" in as_text(
        what_if.build(made, answers(made, "timer=5ms")), 80
    )


def test_names_are_harmless(tmp_path: Path) -> None:
    made = recorded(tmp_path, b"\x1b[31mevil\n")
    for text in (
        as_text(what_if.build(made, answers(made, "timer=5ms")), 80),
        as_json(what_if.build(made, answers(made))),
    ):
        assert "\x1b" not in text
        assert "evil\n" not in text


def test_json(tmp_path: Path) -> None:
    made = recorded(tmp_path)
    found = json.loads(as_json(what_if.build(made, answers(made, "timer=5ms", "fix=uninterruptible"))))
    assert Draft202012Validator(json_schemas.made()["what-if"]).is_valid(found)
    assert found["simulated"] is False
    assert found["kernel"]["always_early_below_ns"] == 8 * MS
    assert found["kernel"]["always_completes_above_ns"] == 12 * MS
    short, fixed = found["what_if"]
    assert (short["change"], short["assumed"]) == ("timer=5ms", None)
    assert "signals do not end the penalty" in fixed["assumed"]
    frozen, free = short["threads"]
    assert frozen["subject"]["tid"] == VCPU
    assert (frozen["progress"], frozen["detection_off_per_s"]) == ("no", 0)
    assert frozen["recorded"]["traps"] == frozen["recorded"]["early_returns"] == 400
    assert frozen["recorded"]["signals_used"] == 399
    assert 0.9 < frozen["penalty_share"] <= 1
    assert free["recorded"]["period_ns"] is None
    assert [thread["progress"] for thread in fixed["threads"]] == ["yes", "yes"]
