"""The recorder process, with a fake `sldtrace record`: starts and ends of a run, killed processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.vmm import recorded
from sldtrace.vmm.recorded import RecorderProcess
from tests.waiting import until

# What stands for `sldtrace record`: notes how it was called, is ready (or not), ends at SIGTERM.
FAKE = """
import json, os, signal, socket, sys, time
from pathlib import Path

path = Path(next(word for word in sys.argv if word.startswith("--output=")).split("=", 1)[1])
seen = {"arguments": sys.argv[1:], "sid": os.getsid(0), "pid": os.getpid()}
seen["watchdog"] = "WATCHDOG_USEC" in os.environ
if "refuse" in path.name:
    sys.exit(7)

def end(*_):
    path.write_text(json.dumps(seen | {"ended": True}))
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
path.write_text(json.dumps(seen))
notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = "\\0" + os.environ["NOTIFY_SOCKET"][1:]
notifications.sendto(b"STATUS=compiling", address)
if "slow" not in path.name:
    notifications.sendto(b"READY=1\\nSTATUS=recording", address)
time.sleep(3600)
"""


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "root" / "sldtrace"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FAKE)
    monkeypatch.setattr(recorded, "_ROOT", tmp_path / "root")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")


def said(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_it_records_these_processes_when_the_run_begins_and_is_whole_when_it_has_ended(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.sld"
    with RecorderProcess(path, True) as recorder:
        recorder.begin([12, 34])
        found = said(path)
        options = [f"--output={path}", "--exits", "all", "--pid", "12", "--pid", "34"]
        assert found["arguments"] == ["record", *options]
        assert found["sid"] == found["pid"]  # Ctrl-C does not reach it
        assert not found["watchdog"]
        assert "ended" not in found
    assert said(path)["ended"]


def test_one_that_cannot_record_ends_the_run_with_its_status(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as raised, RecorderProcess(tmp_path / "refuse.sld", False) as recorder:
        recorder.begin([12])
    assert raised.value.code == 7


def test_a_run_that_is_interrupted_does_not_wait_for_it(tmp_path: Path) -> None:
    path = tmp_path / "slow.sld"
    recorder = RecorderProcess(path, True)
    recorder.begin([12], lambda: path.exists() and path.stat().st_size > 0)
    os.kill(said(path)["pid"], 0)
    recorder.end()
    assert said(path)["ended"]


def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recorded, "_END_S", 0.1)
    path = tmp_path / "a.sld"
    recorder = RecorderProcess(path, True)
    recorder.begin([12])
    os.kill(said(path)["pid"], signal.SIGSTOP)
    with pytest.raises(SldtraceError, match="did not end"):
        recorder.end()
    with pytest.raises(ProcessLookupError):
        os.kill(said(path)["pid"], 0)
    recorder.end()  # does nothing more


def test_it_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.sld"
    script = (
        "import sys; from pathlib import Path; from sldtrace.vmm import recorded; import time;"
        f"recorded._ROOT = Path({str(recorded._ROOT)!r});"
        f"recorded.RecorderProcess(Path({str(path)!r}), False).begin([1]);"
        "print('begun', flush=True); time.sleep(3600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.kill()
    until(lambda: "ended" in path.read_text(), "the end of the recorder")
