"""Names that guests, tenants and damaged files choose: none of them reaches a terminal as it is."""

import json as parser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sldtrace.dataset.trace import Trace
from sldtrace.host.vms import process
from sldtrace.text.escape import escape
from tests.analyzers.synthetic import MS, VCPU, VMM, completed, facts, loop, task, trace
from tests.host import fakeproc
from tests.reporters import rendering

NASTY = [
    "\x1b[2J\x1b[31mgone",
    "name\nLIVELOCK: forged",
    "name\r\x1b[K",
    "\u202egnp.exe",
    "\u2066a\u2069\u200f",
    "\x9b31m",
    "\x00rest",
    "\ud800",
    "\ufeff\u2028\u2029\u0085",
    "\U000e0041",
    "A" * 4096,
    "\x1b" * 4096,
]

LINES = 140
"""More lines than a report with one finding has, and fewer than a name of 4,096 characters would make."""

texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=()), max_size=40),
)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def storable(text: str) -> str:
    """As a fact can come out of a file: JSON in UTF-8 holds no half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()


def harmless(text: str) -> bool:
    return all(character == "\n" or character.isprintable() for character in text)


def rendered(recorded: Trace) -> tuple[str, str]:
    content = rendering.built(recorded)
    return rendering.as_text(content), rendering.as_json(content)


def check(recorded: Trace, lines: int | None = None) -> None:
    """Nothing unprintable in either report; `lines`: how many there may be in that for people."""
    text, machine = rendered(recorded)
    assert harmless(text)
    assert not any(line.startswith("LIVELOCK: forged") for line in text.splitlines())
    assert harmless(machine)
    assert machine.isascii()
    assert parser.loads(machine)["recording"]["facts"] == recorded.facts
    if lines is not None:
        assert text.count("\n") <= lines


@quick
@given(st.one_of(st.binary(max_size=15), texts.map(lambda text: text.encode("utf-8", "replace")[:15])))
def test_names_of_threads(tmp_path: Path, comm: bytes) -> None:
    rows = [*loop(30), completed(0, tid=400, tgid=400)]
    check(trace(tmp_path, rows, tasks=[task(VCPU, comm), task(VMM, comm), task(400, comm, 400)]), LINES)


@quick
@given(texts.map(storable), st.booleans())
def test_names_of_processes(tmp_path: Path, name: str, in_a_loop: bool) -> None:
    rows = loop(30) if in_a_loop else [completed(0)]
    check(trace(tmp_path, rows, updates=[{"processes": {str(VMM): {"comm": name, "exe": name}}}]), LINES)


@quick
@given(texts.map(storable), st.booleans())
def test_names_of_vms_and_cgroups(tmp_path: Path, name: str, in_a_loop: bool) -> None:
    rows = loop(30) if in_a_loop else [completed(index * 20 * MS) for index in range(9)]
    vm = dict.fromkeys(("name", "uuid", "id", "namespace", "pod"), name) | {"source": {"name": name}}
    who = {"comm": name, "vmm": name, "vm": vm, "cgroup": name, "unit": name}
    check(trace(tmp_path, rows, updates=[{"processes": {str(VMM): who}}]), LINES)


@pytest.mark.parametrize(
    "name", [b"\xff\x80", b"\x1b]0;gone\x07", b"a\nLIVELOCK: forged", b"\xe2\x80\xaegnp", b"A" * 4096]
)
def test_from_a_command_line_and_a_cgroup_to_the_reports(tmp_path: Path, name: bytes) -> None:
    """All the way: the bytes in /proc, their description, the recording, what is printed."""
    # The kernel accepts no newline in the name of a cgroup.
    scope = b"/machine.slice/machine-qemu-3-" + name.replace(b"\n", b"\\n") + b".scope"
    for arguments in ([b"qemu", b"-name", name], [b"qemu"]):
        folder = tmp_path / str(len(arguments))
        folder.mkdir()
        fakeproc.process(folder, VMM, b"qemu", None, cmdline=arguments, cgroup=scope)
        described = process.describe(VMM, folder)
        recorded = trace(folder, loop(30), updates=[{"processes": {str(VMM): described}}])
        check(recorded, LINES)
        shown = escape(described["vm"]["name"])
        assert shown[:5] == escape(name)[:5]
        text, machine = rendered(recorded)
        assert f"vCPU 0 of VM {shown} (qemu," in text.replace("\n", " ").replace("  ", " ") or len(name) > 80
        assert parser.loads(machine)["findings"][0]["subject"]["vm"] == shown


@quick
@given(texts.map(storable))
def test_names_in_the_facts(tmp_path: Path, text: str) -> None:
    opening: dict[str, Any] = facts(
        kernel={"release": text, "version": text, "lockdown": text},
        cpu={"model": text, "vendor": text},
        split_lock={"mode": text, "mitigate": text},
        tool={"name": text, "version": text},
    )
    opening["probes"] = [
        {"name": text, "backend": backend, "detail": text}
        for backend in ("fentry", "kprobe", "tracepoint", "")
    ]
    check(trace(tmp_path, loop(30), opening=opening), 2000)


@quick
@given(texts.map(storable))
def test_names_of_unknown_facts(tmp_path: Path, text: str) -> None:
    check(trace(tmp_path, [completed(0)], opening=facts() | {text or "x": {text: [text]}}), LINES)


def test_a_name_of_4_kib_is_cut_and_shown_so(tmp_path: Path) -> None:
    updates = [{"processes": {str(VMM): {"comm": "A" * 4096}}}]
    text, _ = rendered(trace(tmp_path, loop(30), updates=updates))
    assert "A" * 197 + "..." in text.replace("\n", "")
    assert "A" * 198 not in text.replace("\n", "")


@pytest.mark.parametrize("comm", [b"\xff\xfe\x80", b"\xe2\x80\xae", b"ok\n\x1b[1m"])
def test_what_is_escaped_is_still_shown(tmp_path: Path, comm: bytes) -> None:
    shown = {b"\xff\xfe\x80": r"\xff\xfe\x80", b"\xe2\x80\xae": r"\u202e", b"ok\n\x1b[1m": r"ok\n\x1b[1m"}
    text, machine = rendered(trace(tmp_path, loop(30), tasks=[task(VCPU, comm), task(VMM, comm)]))
    assert f"vCPU 0 of {shown[comm]} (PID" in text
    subject = parser.loads(machine)["findings"][0]["subject"]
    assert (subject["process"], subject["thread"]) == (shown[comm], shown[comm])
