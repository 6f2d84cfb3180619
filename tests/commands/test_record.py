"""`sldtrace record` without a kernel: what it orders of the recorder, what it says, what it refuses."""

import re
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from sldtrace.capture import recorder
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.sources import EXITS, Sizes
from sldtrace.capture.governor import Limits
from sldtrace.capture.live.detector import Detector
from sldtrace.capture.recorder import Live, RecordOptions, Status
from sldtrace.commands import record as module
from sldtrace.commands.screen import Screen
from sldtrace.errors import SldtraceError, UsageError
from sldtrace.host import access, btf, cgroup_filter, kernel, split_lock
from sldtrace.host.split_lock import SplitLock
from sldtrace.host.vms import process
from sldtrace.model import penalty
from tests.commands.test_screen import FakeTerminal
from tests.reporters import cases

DETECTS = SplitLock("warn", True, False, 1)
SECOND = 1_000_000_000
COST: dict[str, Any] = {
    "elapsed_ns": 100 * SECOND,
    "recorder_cpu_ns": SECOND // 2,
    "probes_ns": 2 * SECOND,
    "measured_ns": 100 * SECOND,
    "memory_bytes": 40 << 20,
}


class FakeRecorder:
    """Notes the options, reports some progress, and ends as the test says."""

    orders: list[RecordOptions]
    progress: list[Status]
    ends: Status | Exception

    def __init__(
        self,
        options: RecordOptions,
        on_message: Callable[[str], None],
        on_status: Callable[[Status], None],
        on_live: Callable[[Live, int], None] | None = None,
    ) -> None:
        self.orders.append(options)
        self._on_message, self._on_status, self._on_live = on_message, on_status, on_live

    def run(self) -> Status:
        self._on_message("recording")
        if self._on_live is not None:
            self._on_live(
                Live(Detector(penalty.for_kernel("6.12", 4_000_000), {}), lambda tgid: {}, Status()), 0
            )
        for status in self.progress:
            self._on_status(status)
        if isinstance(self.ends, Exception):
            raise self.ends
        return replace(self.ends, path=self.orders[-1].path or Path())


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeRecorder]:
    """A host where recording works, and a recorder that does not."""
    monkeypatch.setattr(recorder, "Recorder", FakeRecorder)
    monkeypatch.setattr(FakeRecorder, "orders", [], raising=False)
    monkeypatch.setattr(FakeRecorder, "progress", [], raising=False)
    monkeypatch.setattr(FakeRecorder, "ends", Status(ended_by="SIGINT", cost=COST), raising=False)
    monkeypatch.setattr(access, "require", lambda: None)
    monkeypatch.setattr(process, "exists", lambda tgid: tgid == 77)
    monkeypatch.setattr(split_lock, "read", lambda: DETECTS)
    monkeypatch.setattr(kernel, "has_tracepoint", lambda category, name: True)
    monkeypatch.setattr(btf, "exists", lambda: True)
    monkeypatch.setattr(
        access, "effective_capabilities", lambda: 1 << access.CAP_BPF | 1 << access.CAP_PERFMON
    )
    monkeypatch.setattr(access, "perf_events_require_admin", lambda path: False)
    return FakeRecorder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(module.record, arguments)


SMALL = Sizes(*[4] * len(fields(Sizes)))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("-o", "x.sld"), RecordOptions(Path("x.sld"))),
        (
            ("-o", "x", "-d", "1.5s", "--pid", "77", "-f"),
            RecordOptions(Path("x"), 3 * SECOND // 2, Filters((77,)), force=True),
        ),
        (("-o", "x", "-d", "30"), RecordOptions(Path("x"), 30 * SECOND)),
        (("-o", "x", "--backend", "kprobe"), RecordOptions(Path("x"), backend="kprobe")),
        (
            ("-o", "x", "--ring-pages", "4", "--poll", "2s"),
            RecordOptions(Path("x"), sizes=SMALL, poll_ns=2 * SECOND),
        ),
        (("-o", "x", "--idle", "2s"), RecordOptions(Path("x"), limits=Limits(idle_ns=2 * SECOND))),
        (("-o", "x", "--exits", "counts"), RecordOptions(Path("x"), exits="counts")),
        (
            ("-o", "x", "--max-events-per-second", "500", "--max-cpu-percent", "2.5"),
            RecordOptions(Path("x"), limits=Limits(500, 2.5)),
        ),
        (
            ("-o", "x", "--pid", "77", "--pid", "77", "--tid", "5", "--tid", "6", "--comm", "CPU*"),
            RecordOptions(Path("x"), filters=Filters((77, 77), (5, 6), comm="CPU*")),
        ),
        (
            ("-o", "x", "--address", "0x4018", "--address", "4000-4fff"),
            RecordOptions(Path("x"), filters=Filters(addresses=((0x4018, 0x4018), (0x4000, 0x4FFF)))),
        ),
        (("-o", "x", "--vm", "web-*"), RecordOptions(Path("x"), filters=Filters(vm="web-*"))),
        (
            ("-o", "x", "--cgroup", "/machine.slice"),
            RecordOptions(Path("x"), filters=Filters(cgroup=(99, 1), cgroup_name="/machine.slice")),
        ),
    ],
)
def test_the_command_line_becomes_record_options(
    arguments: tuple[str, ...],
    options: RecordOptions,
    fake: type[FakeRecorder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cgroup_filter, "cgroup_filter", {"/machine.slice": (99, 1)}.__getitem__)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert fake.orders == [options]


def test_the_defaults_are_those_of_the_limits() -> None:
    """--help tells them, and Limits has them."""
    defaults = {option.name: option.default for option in module.record.params}
    assert (defaults["max_events_per_second"], defaults["max_cpu_percent"]) == (Limits().events, Limits().cpu)
    assert defaults["exits"] == RecordOptions(Path("x")).exits


@pytest.mark.parametrize("exits", EXITS)
def test_every_mode_can_be_asked_for(exits: str) -> None:
    assert run("-o", "x", "--exits", exits).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--address", "0xg"), "'0xg' is not like 0x4018 or 0x4000-0x4fff"),
        (("--address", "5-4"), "'5-4' is not a range of addresses"),
        (("--address", "10000000000000000"), "is not a range of addresses"),
        (("--address", "-5"), "not like 0x4018"),
        (("--exits", "some"), "'some' is not one of"),
        (("--max-cpu-percent", "0"), "0.0 is not in the range"),
        (("--max-events-per-second", "0"), "0 is not in the range"),
        (("--pid", "0"), "0 is not in the range"),
        (("--tid", "x"), "'x' is not a valid integer"),
    ],
)
def test_values_that_make_no_sense(arguments: tuple[str, ...], said: str, fake: type[FakeRecorder]) -> None:
    result = run("-o", "x", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert fake.orders == []


def test_nothing_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """What is piped on is the report, not the recorder's talk."""
    module.record.main(["-o", "x"], standalone_mode=False)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 4


def test_the_last_lines(fake: type[FakeRecorder]) -> None:
    fake.ends = Status(
        elapsed_ns=12_345_000_000,
        traps=12_345,
        early_returns=12_000,
        lost=7,
        ended_by="duration",
        cost=COST,
    )
    assert run("-o", "a\nb.sld").output.splitlines() == [
        "sldtrace: recording",
        "sldtrace: 12,345 traps in 12.3 s, 12,000 early returns, 7 records lost; ended by duration",
        "sldtrace: cost: the recorder 0.5 % of a CPU, its probes 2 %; 40 MiB of memory",
        r"sldtrace: next: sldtrace report a\nb.sld",
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"probes_ns": None}, "the recorder 0.5 % of a CPU, the probes could not be timed; 40 MiB"),
        (
            {"measured_ns": 12 * SECOND},
            "its probes 2 % (measured for 12 s, then estimated from exits); 40 MiB",
        ),
        ({"elapsed_ns": 0, "recorder_cpu_ns": 0, "probes_ns": 0}, "the recorder 0 % of a CPU"),
    ],
)
def test_the_cost(changed: dict[str, Any], said: str, fake: type[FakeRecorder]) -> None:
    fake.ends = Status(ended_by="SIGINT", cost=COST | changed)
    assert said in run("-o", "x").output


@pytest.mark.parametrize("unfinished", [0, 3])
def test_what_had_not_ended_is_reported(unfinished: int, fake: type[FakeRecorder]) -> None:
    fake.ends = Status(unfinished=unfinished, ended_by="SIGINT", cost=COST)
    assert ("sldtrace: 3 traps had not ended and are not in the file" in run("-o", "x").output) == bool(
        unfinished
    )


def test_without_a_terminal_a_line_each_ten_seconds(fake: type[FakeRecorder]) -> None:
    fake.progress = [
        Status(second * SECOND, 1000 * second, lost=second, bytes=2048, level="exits", cpu=1.25)
        for second in range(1, 26)
    ]
    lines = [line for line in run("-o", "x").output.splitlines() if "traps" in line][:-1]
    assert lines == [
        "00:00:10  traps 10,000  early returns 0  lost 10  2 KiB  exits  1.2 % CPU",
        "00:00:20  traps 20,000  early returns 0  lost 20  2 KiB  exits  1.2 % CPU",
    ]


def test_a_host_that_cannot_record_is_refused_before_all_else(
    monkeypatch: pytest.MonkeyPatch, fake: type[FakeRecorder]
) -> None:
    def refuse() -> None:
        raise SldtraceError("no right", "run it as root")

    monkeypatch.setattr(access, "require", refuse)
    result = run("-o", "x", "--pid", "1234567")
    assert str(result.exception) == "no right; run it as root"
    assert fake.orders == []


def test_a_process_that_does_not_exist(fake: type[FakeRecorder]) -> None:
    result = run("-o", "x", "--pid", "78")
    assert isinstance(result.exception, UsageError)
    assert "there is no process 78" in str(result.exception)
    assert fake.orders == []


def test_a_failure_leaves_the_line_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, fake: type[FakeRecorder]
) -> None:
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fake.progress = [Status(elapsed_ns=SECOND)]
    fake.ends = SldtraceError("the disk is full")
    with pytest.raises(SldtraceError):
        module.record.main(["-o", "x"], standalone_mode=False)
    assert terminal.text.endswith("% CPU\n")


# Warnings


def warnings() -> list[str]:
    return [line for line in run("-o", "x").output.splitlines() if "warning" in line]


def test_a_host_with_everything_has_no_warning() -> None:
    assert warnings() == []


@pytest.mark.parametrize(
    ("target", "name", "value", "said"),
    [
        (
            split_lock,
            "read",
            SplitLock("off", True, False, 1),
            "booted with split_lock_detect=off: split locks do not trap",
        ),
        (
            split_lock,
            "read",
            SplitLock("unsupported", False, False, 1),
            "this CPU has no split-lock detection",
        ),
        (split_lock, "read", SplitLock("warn", False, True, 1), "this CPU has no split-lock detection"),
        (
            split_lock,
            "read",
            SplitLock("ratelimit:5", True, True, 1),
            "booted with split_lock_detect=ratelimit:5",
        ),
        (kernel, "has_tracepoint", False, "KVM is not loaded: no VM exits"),
        (btf, "exists", False, "no BTF (CONFIG_DEBUG_INFO_BTF): using kprobes"),
        (access, "perf_events_require_admin", True, "kernel.perf_event_paranoid is above 2"),
    ],
)
def test_each_lack_that_is_not_fatal_is_a_warning(
    target: Any, name: str, value: Any, said: str, monkeypatch: pytest.MonkeyPatch, fake: type[FakeRecorder]
) -> None:
    monkeypatch.setattr(target, name, lambda *_: value)
    (line,) = warnings()
    assert line.startswith("sldtrace: warning: ")
    assert said in line
    assert len(fake.orders) == 1


@pytest.mark.parametrize("mode", ["warn", "fatal"])
def test_modes_in_which_guests_trap_have_no_warning(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_lock, "read", lambda: SplitLock(mode, True, False, 1))
    assert warnings() == []


@pytest.mark.parametrize(("ended_by", "status"), [(recorder.FINDING, 3), ("SIGINT", 0), ("duration", 0)])
def test_only_the_finding_of_until_has_a_status_of_its_own(
    ended_by: str, status: int, fake: type[FakeRecorder]
) -> None:
    fake.ends = Status(ended_by=ended_by, cost=COST)
    assert run("-o", "x", "--until", "early-return-loop").exit_code == status


def test_metrics_are_written_while_it_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: type[FakeRecorder]
) -> None:
    path, seen = tmp_path / "x.prom", []
    monkeypatch.setattr(fake, "progress", [Status()])
    monkeypatch.setattr(Screen, "status", lambda *_: seen.append(path.read_text()))
    assert run("-o", "x", "--metrics", str(path)).exit_code == 0
    assert "sldtrace_recorder_records_total 0" in seen[0]
    assert not path.exists()
    assert fake.orders[0].folders == (tmp_path,)


@pytest.mark.parametrize("path", ["", "gone/x.prom"])
def test_metrics_need_a_folder(tmp_path: Path, path: str) -> None:
    refused = run("-o", "x", "--metrics", str(tmp_path / path)).exception
    assert isinstance(refused, UsageError)
    assert "is not a file in a folder that exists" in refused.message


def test_without_a_name_the_file_has_the_hosts_and_the_date(fake: type[FakeRecorder]) -> None:
    assert run().exit_code == 0
    (path,) = (given.path for given in fake.orders)
    assert re.fullmatch(r"sldtrace-[A-Za-z0-9._-]+-\d{8}-\d{6}\.sld", str(path))


def test_quiet_leaves_messages_only(monkeypatch: pytest.MonkeyPatch, fake: type[FakeRecorder]) -> None:
    monkeypatch.setattr(fake, "progress", [Status(elapsed_ns=20 * SECOND)])
    assert run("-o", "x", "-q").stderr.splitlines() == ["sldtrace: recording"]


def test_the_report_comes_at_the_end() -> None:
    kept = cases.RECORDINGS / "lab-early-return-loop.sld"
    done = run("-o", str(kept), "--report")
    assert done.exit_code == 0
    assert "LIVELOCK" in done.stdout


@pytest.mark.parametrize("options", [("-o", "-"), ("-o", "x", "--rotate", "1h")])
def test_the_report_needs_one_file(options: tuple[str, ...]) -> None:
    refused = run(*options, "--report").exception
    assert isinstance(refused, UsageError)
    assert refused.message == "--report needs one file"


def test_without_pandas_the_summary_comes_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "pandas" else object())
    done = run("-o", str(cases.RECORDINGS / "lab-early-return-loop.sld"), "--report")
    assert done.exit_code == 0
    assert "LIVELOCK" in done.stdout
    assert "Evidence" not in done.stdout
    assert "the summary only; the report needs " in done.stderr


@pytest.mark.parametrize(
    ("ended_by", "script", "words"),
    [
        ("SIGINT", "exit 7", "the command has ended, too, with status 7"),
        ("duration", "sleep 1", "the command has not ended: process "),
    ],
)
def test_what_became_of_the_command_when_the_recording_ended_first(
    ended_by: str, script: str, words: str, fake: type[FakeRecorder]
) -> None:
    fake.ends = Status(ended_by=ended_by, cost=COST)
    done = run("--", "sh", "-c", script)
    assert done.exit_code == 0
    assert f"sldtrace: {words}" in done.stderr


def test_help_has_every_option_once_under_a_heading() -> None:
    lines = run("--help").output.splitlines()
    for option in module.record.params:
        if isinstance(option, click.Option) and not option.hidden:
            name = rf"  (-\w, )?{option.opts[-1]}( .*)?"
            assert sum(re.fullmatch(name, line) is not None for line in lines) == 1, option.name
    headings = [line for line in lines if re.fullmatch(r"[A-Z][\w ]+:", line)]
    assert headings == [*(f"{each}:" for each in module._GROUPS), "Other options:"]


def test_a_file_without_its_option_is_no_command() -> None:
    refused = run("incident.sld").exception
    assert isinstance(refused, UsageError)
    assert (refused.message, refused.hint) == (
        "there is no program incident.sld to run",
        "a file is named by -o FILE",
    )
