"""The command of --on-finding: what it gets, its failures, and that the recorder does not wait for it."""

import json
import signal
from pathlib import Path

import pytest

from sldtrace.capture.live import on_finding
from sldtrace.capture.live.finding_json import finding_json
from sldtrace.capture.live.on_finding import OnFinding
from sldtrace.engine.loops import Loop
from sldtrace.model import penalty
from tests.waiting import until

KERNEL = penalty.for_kernel("6.12", 4_000_000)
SECOND = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def finished(runner: OnFinding) -> None:
    """Polls until nothing runs or waits any more."""

    def over() -> bool:
        runner.poll()
        return not (runner._run or runner._waiting)

    until(over, "the end of what runs")


def test_it_gets_the_finding_and_runs_one_at_a_time(tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    runner = OnFinding(f"cat >> {out}; echo over >> {out}", said.append)
    assert runner.offer(1, 2, "warning", b"one\n")
    assert runner.offer(1, 3, "warning", b"two\n")
    finished(runner)
    assert out.read_text() == "one\nover\ntwo\nover\n"
    assert said == []


def test_a_thread_is_announced_once_in_a_while_and_again_when_it_gets_worse() -> None:
    clock = Clock()
    messages: list[str] = []
    runner = OnFinding("true", messages.append, every_ns=60 * SECOND, clock=clock)
    assert runner.offer(1, 2, "warning", b"")
    assert not runner.offer(1, 2, "warning", b"")
    assert runner.offer(1, 2, "critical", b"")
    assert runner.offer(1, 3, "warning", b"")
    clock.now = 60 * SECOND
    assert runner.offer(1, 2, "warning", b"")
    runner.close(SECOND)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("exit 3", "failed with status 3"),
        (
            "echo first >&2; printf 'no \\033[31mmail\\n\\n' >&2; exit 1",
            "failed with status 1: no \\x1b[31mmail",
        ),
        ("no-such-program-at-all 2>/dev/null", "failed with status 127"),
        ("kill -TERM $$", "was killed by signal 15"),
        ("exit 0", None),
    ],
)
def test_its_failure_is_one_line(command: str, line: str | None) -> None:
    said: list[str] = []
    runner = OnFinding(command, said.append)
    runner.offer(1, 2, "warning", b"x" * 100_000)
    finished(runner)
    assert said == ([f"warning: the --on-finding command {line}"] if line else [])


def test_what_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    clock, said = Clock(), list[str]()
    runner = OnFinding(f"sleep 1000 & echo $! > {tmp_path / 'pid'}; wait", said.append, clock=clock)
    runner.offer(1, 2, "warning", b"")
    pid = tmp_path / "pid"
    until(lambda: pid.exists() and pid.read_text(), "the PID of the command's child")
    runner.poll()
    assert said == []
    clock.now = on_finding.LIMIT_NS + 1
    finished(runner)
    assert said == ["warning: the --on-finding command took too long and was killed"]
    status = Path(f"/proc/{pid.read_text().strip()}/status")
    until(lambda: not status.exists() or "State:\tZ" in status.read_text(), "the end of the child")


def test_a_command_that_writes_without_end_costs_no_memory() -> None:
    said: list[str] = []
    runner = OnFinding("yes 'a line' >&2 & sleep 0.3; kill $!; exit 2", said.append)
    runner.offer(1, 2, "warning", b"")
    finished(runner)
    (line,) = said
    assert line.startswith("warning: the --on-finding command failed with status 2: ")
    assert len(line) < 600


def test_of_many_threads_the_newest_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_finding, "_MOST_KNOWN", 2)
    clock = Clock()
    runner = OnFinding("true", print, clock=clock)
    for tid in (1, 2, 3):
        assert runner.offer(1, tid, "warning", b"")
    assert not runner.offer(1, 3, "warning", b"")
    assert not runner.offer(1, 2, "warning", b"")
    assert runner.offer(1, 1, "warning", b"")
    runner.close(SECOND)


def test_a_flood_of_findings_is_bounded_and_said_once() -> None:
    said: list[str] = []
    runner = OnFinding("sleep 1000", said.append)
    taken = sum(runner.offer(1, tid, "warning", b"") for tid in range(100))
    assert taken == on_finding.MOST_WAITING + 1
    assert runner.dropped == 100 - taken
    assert said == ["warning: the --on-finding command is too slow; some findings are not passed to it"]
    runner.close(0)
    assert runner._run is None
    assert runner.dropped == 99


def test_the_command_can_be_stopped_by_signals_though_the_recorder_blocks_them() -> None:
    said: list[str] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        runner = OnFinding("kill -TERM $$; exit 9", said.append)
        runner.offer(1, 2, "warning", b"")
        finished(runner)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert said == ["warning: the --on-finding command was killed by signal 15"]


def test_the_announcement_is_one_line_of_ascii_with_the_names_of_the_report() -> None:
    loop = Loop(
        tgid=200, tid=201, rip=0x7C40, vcpu=-1, guest=True, livelock=True, start_ns=5, end_ns=9, loops=1
    )
    text = finding_json(loop, {"comm": "qemu\x1b[31m\u202e\n"}, KERNEL, "/a/b.sld")
    assert text.count(b"\n") == 1
    assert text.isascii()
    assert b"\x1b" not in text
    finding = json.loads(text)
    assert (finding["kind"], finding["verdict"], finding["severity"]) == (
        "early-return-loop",
        "livelock",
        "critical",
    )
    assert finding["subject"] == {"process": r"qemu\x1b[31m\u202e\n", "tgid": 200, "tid": 201, "vcpu": None}
    golden = json.loads((Path(__file__).parents[2] / "reporters/data/livelock.json").read_text())
    reported = golden["findings"][0]
    assert finding.keys() - reported.keys() == {"process", "recording"}
    assert finding["numbers"].keys() <= reported["numbers"].keys()
    assert finding["subject"].keys() <= reported["subject"].keys()
    assert finding["rip"] == reported["rip"]


def test_the_command_ends_when_the_reader_of_its_pipe_has_ended(tmp_path: Path) -> None:
    """Python ignores SIGPIPE and SIGXFSZ, which a shell would pass on to its programs."""
    out = tmp_path / "out"
    runner = OnFinding(f"grep SigIgn /proc/self/status > {out}", print)
    runner.offer(1, 2, "warning", b"")
    finished(runner)
    ignored = int(out.read_text().split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))
