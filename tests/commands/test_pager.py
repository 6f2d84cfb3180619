"""Long output goes through a pager on a terminal, and only there."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.analyzers.synthetic import loop, write

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if "PAGER" not in name and name != "LESS"}


def on_a_terminal(path: Path, *options: str, **environment: str) -> str:
    """What a terminal of 100x24 gets from `sldtrace report`."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sldtrace", "report", str(path), *options],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        cwd=ROOT,
        env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100", "LINES": "24", **environment},
    )
    os.close(theirs)
    text = b""
    try:
        while more := os.read(ours, 65536):
            text += more
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    process.wait()
    return text.decode().replace("\r\n", "\n")


def test_the_pager_of_the_environment_gets_the_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", loop(200))
    seen = tmp_path / "seen"
    paged = on_a_terminal(path, PAGER="false", SLDTRACE_PAGER=f"tee {seen} | wc -l; echo $LESS")
    lines = seen.read_text().count("\n")
    assert lines > 40
    assert paged == f"{lines}\nFRX\n"
    assert "LIVELOCK" in seen.read_text()


def test_without_a_pager_the_text_is_printed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", loop(200))
    whole = on_a_terminal(path, "--no-pager", PAGER="wc -l")
    assert "LIVELOCK" in whole
    assert on_a_terminal(path, PAGER="cat") == whole
    assert on_a_terminal(path, PAGER="wc -l", TERM="dumb") == whole
    assert on_a_terminal(path, PAGER="no-such-pager 2>/dev/null") == whole


def test_a_pipe_has_no_pager(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", loop(200))
    command = [sys.executable, "-m", "sldtrace", "report", str(path)]
    environment = {**ENVIRONMENT, "TERM": "xterm", "PAGER": "wc -l"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert b"LIVELOCK" in done.stdout


def test_a_simulation_is_piped_into_a_report() -> None:
    command = f"{sys.executable} -m sldtrace "
    piped = f"{command} simulate -d 500ms -o - 2>/dev/null | {command} report --brief -"
    done = subprocess.run(
        piped, shell=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert "LIVELOCK: vCPU 0 of simulated" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "standard input is empty; nothing was recorded into it"),
        (b"garbage", "standard input is not an sldtrace recording; name a file that `record` wrote"),
    ],
)
@pytest.mark.parametrize("command", ["report -", "report - .", "export --format jsonl -o - -"])
def test_messages_about_standard_input_name_it(raw: bytes, message: str, command: str) -> None:
    line = [sys.executable, "-m", "sldtrace", *command.split()]
    done = subprocess.run(line, input=raw, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    assert message in done.stderr.decode()
    assert b"/tmp" not in done.stdout + done.stderr


def test_a_damaged_recording_from_standard_input_is_named(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.sld", loop(200)).read_bytes()[:-200]
    line = [sys.executable, "-m", "sldtrace", "report", "--format", "json", "-"]
    done = subprocess.run(line, input=raw, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    assert json.loads(done.stdout)["recording"]["files"][0]["name"] == "standard input"
    assert b"/tmp" not in done.stdout + done.stderr


def test_ctrl_c_while_standard_input_is_read_ends_by_sigint() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sldtrace", "report", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"x" * (1 << 21))  # more than a pipe holds: it is read
    process.stdin.flush()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait() == -signal.SIGINT
    assert process.stderr.read() == b"sldtrace: interrupted\n"
    process.stdin.close()
    process.stderr.close()
