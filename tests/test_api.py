"""The API for programs: what is documented is what comes, findings as in the report, failures as usual."""

import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sldtrace
from sldtrace import api
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.frames import Column
from sldtrace.errors import SldtraceError
from sldtrace.recording import schema
from tests.analyzers.synthetic import MS, START_NS, VCPU, VMM, WALL_NS, completed, facts, loop, task, write
from tests.dataset.test_frames import type_name
from tests.reporters import cases
from tools import api_page, format_page

TABLES = [*api.RECORDS, "exit_counts", "threads", "findings_table"]


def check(table: pd.DataFrame, described: dict[str, Column]) -> None:
    types = {name: column.dtype for name, column in described.items()}
    assert {name: type_name(table[name]) for name in table.columns} == types
    assert list(table.columns) == list(described)


@pytest.mark.parametrize("name", ["detail", "locks", "livelock", "queue", "program", "amd", "losses"])
def test_tables_are_as_documented(name: str, tmp_path: Path) -> None:
    with sldtrace.open(cases.CASES[name](tmp_path).recording.path) as recorded:
        for each in TABLES:
            check(getattr(recorded, each), api.columns(each))


def test_every_kind_of_record_has_its_table() -> None:
    """The counts are summed up."""
    assert {*api.RECORDS.values(), "counts"} == set(schema.current().records)
    for described in [*map(api.columns, TABLES), api.HOSTS]:
        assert all(column.unit and column.meaning for column in described.values())


def test_the_page_is_up_to_date() -> None:
    page = api_page.PAGE.read_text(encoding="utf-8")
    assert api_page.updated(page) == page, "run python -m tools.api_page"
    assert format_page.END in page
    for name in [*TABLES, "Fleet.hosts"]:
        assert f"### `{name}`" in page


def test_findings_are_those_of_the_report(tmp_path: Path) -> None:
    made = cases.livelock(tmp_path)
    with sldtrace.open(str(made.recording.path)) as recorded:
        assert recorded.findings == catalogue.run(made)
        table, first = recorded.findings_table, recorded.findings[0]
        assert table["verdict"].tolist() == ["livelock", "slowed"]
        assert (table["severity"] >= "critical").tolist() == [True, False]
        row = table.iloc[0]
        assert (row["vm"], row["tgid"], row["tid"], row["vcpu"]) == ("web01", VMM, VCPU, 0)
        assert (row["rip"], row["start"].value) == (first.rip, first.start_ns - START_NS + WALL_NS)
        assert len(first.evidence.frame()) == len(first.evidence) == 2000
        assert set(first.evidence.frame().columns) == set(recorded.traps.columns)
        assert recorded.subject(VCPU).vm == "web01"
        assert recorded.wall(recorded.traps["start_ns"]).iloc[0].value == WALL_NS
        with pytest.raises(SldtraceError, match="no thread with TID 7 trapped"):
            recorded.subject(7)


def test_addresses_in_the_kernels_half_stay_exact(tmp_path: Path) -> None:
    high = 0xFFFF_FFFF_8100_0C0F
    path = write(tmp_path / "a.sld", loop(100, rip=high))
    with sldtrace.open(path) as recorded:
        assert recorded.findings_table["rip"].tolist() == [high]


def fleet(folder: Path) -> list[Path]:
    """A frozen VM on one host, nothing on another, and a host that has lost its facts."""
    who = {"processes": {str(VMM): {"comm": "qemu", "vmm": "qemu", "vm": {"name": "web\x1b01"}}}}
    one = facts(host={"name": "node\n1"}) | who
    two = facts(host={"name": "node2"}, split_lock={"mitigate": 0})
    return [
        write(folder / "one.sld", loop(300), one, [task(VCPU, b"CPU 0/KVM")]),
        write(folder / "two.sld", [], two),
        write(folder / "three.sld", [completed(index * 40 * MS) for index in range(20)], {}, ended={}),
    ]


def test_many_recordings(tmp_path: Path) -> None:
    paths = fleet(tmp_path)
    many = sldtrace.open_many(iter(paths))
    check(many.hosts, dict(api.HOSTS))
    assert many.hosts["host"].tolist() == ["node\\n1", "node2", ""]
    assert many.hosts["traps"].tolist() == [300, 0, 20]
    assert many.hosts["worst"].astype(object).fillna("").tolist() == ["critical", "", "warning"]
    assert many.hosts["mitigate"].isna().tolist() == [False, False, True]
    assert many.hosts["start"].isna().tolist() == [False, False, True]
    origin = {"path": api.HOSTS["path"], "host": api.HOSTS["host"]}
    check(many.findings, origin | api.columns("findings_table"))
    check(many.threads, origin | api.columns("threads"))
    assert many.findings[["path", "vm", "verdict"]].to_numpy().tolist() == [
        [str(paths[0]), "web\\x1b01", "livelock"],
        [str(paths[2]), "", "slowed"],
    ]
    assert many.threads["host"].tolist() == ["node\\n1", ""]
    assert [(one.path, len(one.traps)) for one in many] == list(zip(paths, [300, 0, 20], strict=True))
    assert len(many) == 3


@pytest.mark.parametrize("paths", [[], ["two.sld"]])
def test_tables_of_nothing_have_their_types(tmp_path: Path, paths: list[str]) -> None:
    fleet(tmp_path)
    many = sldtrace.open_many([tmp_path / name for name in paths])
    origin = {"path": api.HOSTS["path"], "host": api.HOSTS["host"]}
    check(many.findings, origin | api.columns("findings_table"))
    check(many.threads, origin | api.columns("threads"))
    assert len(many.hosts) == len(paths)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    paths = [*fleet(tmp_path), tmp_path / "none.sld", tmp_path / "text.sld"]
    paths[-1].write_text("no recording")
    with pytest.raises(SldtraceError, match=r"none\.sld does not exist"):
        sldtrace.open(paths[3])
    with pytest.raises(SldtraceError, match=r"none\.sld does not exist"):
        sldtrace.open_many(paths)
    many = sldtrace.open_many(paths, skip_unreadable=True)
    assert len(many) == 3
    assert {path.name: error.hint for path, error in many.unreadable.items()} == {
        "none.sld": "name the file of a recording",
        "text.sld": "name a file that `record` wrote",
    }


def test_a_damaged_recording_opens_with_what_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", loop(300))
    path.write_bytes(path.read_bytes()[:-40])
    with sldtrace.open(path) as recorded:
        assert len(recorded.traps) == 300
        assert recorded.findings[0].verdict == "livelock"
        assert recorded.warnings
    (row,) = sldtrace.open_many([path]).hosts.to_dict("records")
    assert (row["closed"], row["warnings"] > 0) == (False, True)


def test_an_analysis_that_is_not_used_any_more_is_not_kept(tmp_path: Path) -> None:
    """Nor are its millions of rows: nothing that the analyzers remember refers to it."""
    recorded: Any = sldtrace.open(write(tmp_path / "a.sld", loop(300)))
    assert recorded.findings
    gone = [weakref.ref(recorded.trace), weakref.ref(recorded.trace.rows("trap"))]
    recorded.close()
    del recorded
    assert [each() for each in gone] == [None, None]


def test_types_are_there_for_users() -> None:
    assert (Path(sldtrace.__file__).parent / "py.typed").is_file()


def test_the_example(tmp_path: Path) -> None:
    paths = [*fleet(tmp_path)[::2], tmp_path / "none.sld"]
    script = Path(__file__).parents[1] / "examples" / "notebook.py"
    environment = {"PYTHONPATH": str(script.parents[1]), "PATH": "/usr/bin:/bin", "MPLBACKEND": "Agg"}
    command = [sys.executable, str(script)]
    done = subprocess.run(
        [*command, *map(str, paths)], cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("CRITICAL: vCPU 0 of web\\x1b01, TID 201 did not get past guest address")
    assert "none.sld does not exist" in done.stdout
    alone = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert alone.returncode == 0, alone.stderr
    assert "semaphore-queue" in alone.stdout
    text = script.read_text(encoding="utf-8")
    assert text.count("\n# %%") > 8
