"""An observer counts as attached when it says so or holds its probes, and has come to rest; not before."""

import os
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.observers import attached
from benchmarks.observers.attached import Attached, ObserverError, cpu_seconds, session
from benchmarks.observers.table import Observer, Ready

AT_ONCE = Ready()
NEVER = Ready(said="never")


def observer(script: str, ready: Ready = AT_ONCE, writes: str = "") -> Observer:
    """An observer that runs a Python script."""
    return Observer("o", "-", (sys.executable, "-c", textwrap.dedent(script)), ready, writes)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short rest: the tests look at the order of things, not at times."""
    monkeypatch.setattr(attached, "_REST_S", 0.2)


def test_it_is_waited_for_until_it_says_so_and_then_until_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of the test's own: the observer speaks after 0.3 s and is busy for as long again."""
    one = Attached(observer("import time; time.sleep(3600)", Ready(said="ready")))
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        (one.folder / "said").write_text("almost\n" + "ready\n" * (now > 0.3))

    monkeypatch.setattr(attached, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    monkeypatch.setattr(attached, "cpu_seconds", lambda leader: min(now, 0.6))
    with one:
        assert 0.8 <= now < 0.9
        assert len(session(one._process.pid)) == 1
    assert session(one._process.pid) == []
    one.discard()
    assert not one.folder.exists()


def test_what_it_said_and_used_is_that_of_its_processes() -> None:
    script = """
    import time
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    print("ready", flush=True)
    time.sleep(3600)
    """
    one = Attached(observer(script, Ready(said="ready")))
    with one:
        assert cpu_seconds(one._process.pid) > 0.28  # 0.3, each of its two parts rounded down to a tick
    assert one.said().startswith("ready\nTraceback")
    assert "KeyboardInterrupt" in one.said()
    one.discard()


def test_what_it_writes_is_counted_with_all_parts_of_the_file() -> None:
    script = """
    import sys, time
    for name in ("out.data", "out.data.cpu0", "other"):
        open(sys.argv[1] + "/" + name, "w").write("x" * 100)
    print("written", flush=True)
    time.sleep(3600)
    """
    given = observer(script, Ready(said="written"), "out.data")
    one = Attached(Observer("o", "-", (*given.command, "FOLDER"), given.ready, "out.data"))
    with one:
        assert one.written() == 200
    one.discard()


def test_one_that_ends_by_itself_is_reported_with_its_last_line() -> None:
    with (
        pytest.raises(ObserverError, match="status 3: no such option"),
        Attached(observer("import sys; print('usage'); print('no such option'); sys.exit(3)", NEVER)),
    ):
        pass


def test_a_program_that_is_missing_is_reported() -> None:
    with (
        pytest.raises(ObserverError, match="no-such-tool: No such file"),
        Attached(Observer("o", "-", ("no-such-tool",), Ready())),
    ):
        pass


@pytest.mark.parametrize("ready", [NEVER, Ready(probes=1), Ready(file="/proc/self/sessionid")])
def test_one_that_never_attaches_is_ended(ready: Ready) -> None:
    one = Attached(observer("import time; time.sleep(3600)", ready), patience=0.6)
    before = time.monotonic()
    with pytest.raises(ObserverError, match="not attached"), one:
        pass
    assert time.monotonic() - before >= 0.6
    assert session(one._process.pid) == []


def test_probes_are_found_in_all_processes_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, link = "anon_inode:[perf_event]", "anon_inode:bpf_link"
    for pid, leader, links in ((7, 7, [event, "/dev/null"]), (8, 7, [link]), (9, 9, [event])):
        (tmp_path / f"{pid}/fd").mkdir(parents=True)
        fields = ["S", "1", str(leader), str(leader)] + ["0"] * 7 + ["100", "50", "25", "25"] + ["0"] * 20
        (tmp_path / f"{pid}/stat").write_text(f"{pid} (a) b) {' '.join(fields)}\n")
        for number, target in enumerate(links):
            (tmp_path / f"{pid}/fd/{number}").symlink_to(target)
    (tmp_path / "meminfo").touch()
    monkeypatch.setattr(attached, "_PROC", tmp_path)
    assert attached.probes(7) == 2
    assert attached.probes(9) == 1
    assert cpu_seconds(7) == pytest.approx(400 / os.sysconf("SC_CLK_TCK"))
