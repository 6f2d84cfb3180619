"""`sldtrace metrics`: what it refuses before it listens, and that it ends as asked."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from sldtrace.commands.metrics import metrics
from sldtrace.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "9721"], "is not like 127.0.0.1:9721"),
        (["--listen", "127.0.0.1:70000"], "is not like"),
        (["--listen", "0.0.0.0:9721"], "is open to others, and needs --cert"),
        (["--listen", "[::]:9721"], "is open to others"),
        (["--listen", "host1:9721"], "is open to others"),
        (["--cert", "x.pem"], "--cert and --key belong together"),
        (["--password-file", "/nowhere"], "cannot be read"),
        (["--cert", "/nowhere", "--key", "/nowhere"], "cannot be used"),
    ],
)
def test_what_is_refused(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(metrics, arguments)
    assert isinstance(done.exception, UsageError)
    assert words in done.exception.message


def test_an_empty_password_is_none(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("\nsecond line\n")
    done = CliRunner().invoke(metrics, ["--password-file", str(tmp_path / "password")])
    assert isinstance(done.exception, UsageError)
    assert "has no password" in done.exception.message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_asked_to_end(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "x.prom").write_text("sldtrace_traps_total 7\n")
    command = [
        sys.executable,
        "-m",
        "sldtrace",
        "metrics",
        str(tmp_path / "x.prom"),
        "--listen",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[1]
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"sldtrace_traps_total 7\n"
        process.send_signal(number)
        assert process.wait() == 0
        assert process.stderr.read() == ""
