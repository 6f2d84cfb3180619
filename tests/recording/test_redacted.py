"""--redact: no name and no address of a recording is in any output, and equal ones stay equal."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sldtrace.commands import export, report
from sldtrace.dataset.trace import Trace
from sldtrace.export import perfetto, text_tables
from sldtrace.recording.redacted import Redactor
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.style import Style
from tests.analyzers.synthetic import RIP, VCPU, VMM, exited, facts, loop, task, trace, write
from tests.reporters import cases, rendering

WHO = {
    "comm": "s3cret-comm",
    "exe": "/opt/s3cret-exe",
    "vmm": "qemu",
    "vm": {"name": "s3cret-vm", "uuid": "s3cret-uuid", "pod": "s3cret-more", "source": {"name": "-name"}},
    "cgroup": "/s3cret-group",
    "unit": "s3cret-group.service",
}
OPENING = facts(host={"name": "s3cret-host", "boot_id": "s3cret-uuid"}) | {
    "filters": {"vm": "s3cret-vm"},
    "unknown": {"s3cret-more": ["s3cret-more"]},
}


def options() -> dict[str, object]:
    tasks = [task(VMM, b"s3cret-comm"), task(VCPU, b"CPU 0/KVM"), task(300, b"s3cret-more")]
    exits = [exited(index * 1_000_000, vector=17, rip=RIP) for index in range(5)]
    return {
        "opening": OPENING,
        "tasks": tasks,
        "updates": [{"processes": {str(VMM): WHO}}],
        "more": {"exit": exits},
    }


@pytest.fixture
def recorded(tmp_path: Path) -> Trace:
    return trace(tmp_path, loop(200), **options())


@pytest.fixture
def redacted(recorded: Trace) -> Trace:
    return Trace(Redactor(b"key").timeline(recorded.recording))


def clean(text: str) -> bool:
    return "s3cret" not in text and f"{RIP:#x}" not in text


def test_no_form_of_a_report_has_a_name_or_an_address(recorded: Trace, redacted: Trace) -> None:
    content = rendering.built(redacted, with_pictures=True)
    for form in FORMATS.values():
        text = form.render(content, Style())
        assert clean(text), form.name
        assert "vm-1" in text
    assert not clean(rendering.text(recorded))


def test_no_export_has_them(redacted: Trace, tmp_path: Path) -> None:
    folder = tmp_path / "csv"
    folder.mkdir()
    text_tables.write_csv(redacted, folder)
    for path in folder.iterdir():
        text = path.read_text()
        assert "s3cret" not in text
        assert f",{RIP}," not in text
    lines = io.StringIO()
    text_tables.write_json_lines(redacted, lines)
    assert "s3cret" not in lines.getvalue()
    assert f'"rip":{RIP},' not in lines.getvalue()
    binary = io.BytesIO()
    perfetto.write(redacted, binary)
    assert b"s3cret" not in binary.getvalue()
    assert b"vm-1" in binary.getvalue()


def test_the_findings_are_the_same(recorded: Trace, redacted: Trace) -> None:
    (before,), (after,) = (rendering.parsed(each)["findings"] for each in (recorded, redacted))
    assert after["numbers"] == before["numbers"]
    assert after["verdict"] == before["verdict"]
    assert after["rip"] != before["rip"]
    assert after["subject"]["vcpu"] == before["subject"]["vcpu"] == 0


def test_the_same_name_has_the_same_number() -> None:
    redactor = Redactor()
    assert [redactor.name("vm", name) for name in ("a", "b", "a", "")] == ["vm-1", "vm-2", "vm-1", ""]
    assert redactor.name("host", "a") == "host-1"


def test_the_same_address_has_the_same_number_and_it_depends_on_the_key() -> None:
    values = np.array([5, 7, 5, 0], np.uint64)
    one, two, five, none = Redactor(b"key").addresses(values).tolist()
    assert one == five
    assert one != two
    assert none == 0
    assert Redactor(b"other").addresses(values)[0] != one
    assert Redactor().addresses(values)[0] != Redactor().addresses(values)[0]


def test_recordings_of_the_lab_keep_their_findings(tmp_path: Path) -> None:
    for name in ("lab-early-return-loop", "lab-lock-hold", "lab-migration-defeat"):
        before = cases.kept_file(name, tmp_path)
        after = Trace(Redactor().timeline(before.recording))
        assert [(each["kind"], each["numbers"]) for each in rendering.parsed(after)["findings"]] == [
            (each["kind"], each["numbers"]) for each in rendering.parsed(before)["findings"]
        ]


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_the_command(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "s3cret-file.sld", loop(200), **options())  # type: ignore[arg-type]
    (tmp_path / "s3cret-broken.sld").write_bytes(b"broken")
    for paths in ([path], [path, tmp_path / "s3cret-broken.sld"]):
        done = CliRunner().invoke(report.report, ["--redact", "--format", form, *map(str, paths)])
        assert clean(done.stdout), paths
        assert "vm-1" in done.stdout


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_a_part_of_the_time_has_no_names_either(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "s3cret-file.sld", loop(200), **options())  # type: ignore[arg-type]
    since = ["--since", "2026-09-21 14:13:20.1", "--until", "2026-09-21 14:13:20.18"]
    for paths in ([path], [tmp_path]):
        arguments = ["--redact", "--format", form, *since, *map(str, paths)]
        done = CliRunner().invoke(report.report, arguments)
        assert done.exit_code == 0
        assert clean(done.stdout)
        assert "vm-1" in done.stdout
        if form == "json" and paths == [path]:
            shown = json.loads(done.stdout)
            assert 70 <= shown["recording"]["counts"]["trap"] <= 90
            assert shown["recording"]["facts"]["host"]["name"] == "host-1"


def test_the_command_export(tmp_path: Path) -> None:
    path = write(tmp_path / "s3cret-file.sld", loop(200), **options())  # type: ignore[arg-type]
    done = CliRunner().invoke(export.export, ["--redact", "--format", "jsonl", "-o", "-", str(path)])
    assert "s3cret" not in done.stdout
    first = json.loads(done.stdout.splitlines()[0])
    assert first["facts"]["host"] == {"name": "host-1", "boot_id": "boot-1"}
