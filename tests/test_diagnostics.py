"""The messages of -v and --debug: none without them, on stderr, escaped, and the cause of an error."""

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sldtrace import cli, diagnostics
from sldtrace.errors import SldtraceError

LOG = logging.getLogger("sldtrace.tests")
LINE = re.compile(r"sldtrace: \d+\.\d{3} ([a-z_.]+): (.*)")


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    diagnostics.configure(logging.WARNING)


def messages(text: str) -> list[tuple[str, str]]:
    """Module and text of each message."""
    found = [LINE.fullmatch(line) for line in text.splitlines()]
    return [(match[1], match[2]) for match in found if match]


def run(monkeypatch: pytest.MonkeyPatch, work: click.Command, *options: str) -> int:
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: work)
    with pytest.raises(SystemExit) as ended:
        cli.run([*options, "work"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@click.command()
def speak() -> None:
    LOG.info("an info")
    LOG.debug("a detail")
    Path("/proc/self/status").read_bytes()


@click.command()
def fail() -> None:
    try:
        raise ValueError("the cause")
    except ValueError as error:
        raise SldtraceError("it broke", "mend it") from error


@pytest.mark.parametrize(
    ("options", "info", "debug"),
    [([], False, False), (["-v"], True, False), (["--verbose"], True, False), (["--debug"], True, True)],
)
def test_each_level(
    options: list[str],
    info: bool,
    debug: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, speak, *options) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    found = messages(shown.err)
    assert len(found) == len(shown.err.splitlines())
    assert (("tests", "an info") in found) is info
    assert any(module == "cli" and "Python 3." in text for module, text in found) is info
    assert (("tests", "a detail") in found) is debug
    assert (("host", "open /proc/self/status") in found) is debug


def test_debug_shows_the_cause_of_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, fail, "--debug") == 1
    text = capsys.readouterr().err
    assert "ValueError: the cause" in text
    assert "\nsldtrace: it broke; mend it\n" in text


def test_verbose_does_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, fail, "-v") == 1
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert text.endswith("sldtrace: it broke; mend it\n")


def test_text_of_guests_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    diagnostics.configure(logging.INFO)
    LOG.info("VM %s", "web\x1b[31m\n01\u202e")
    assert messages(capsys.readouterr().err) == [("tests", r"VM web\x1b[31m\n01\u202e")]


def test_a_traceback_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    diagnostics.configure(logging.DEBUG)
    try:
        raise ValueError("web\x1b[31m")
    except ValueError:
        LOG.debug("failed", exc_info=True)
    assert capsys.readouterr().err.endswith("ValueError: web\\x1b[31m\n")


def test_a_phase_is_timed_also_when_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    diagnostics.configure(logging.INFO)
    with pytest.raises(ZeroDivisionError), diagnostics.phase(LOG, "divide"):
        _ = 1 / 0
    ((module, text),) = messages(capsys.readouterr().err)
    assert module == "tests"
    assert re.fullmatch(r"divide: \d+\.\d{3} s", text)


def test_programs_that_are_started_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    import subprocess

    diagnostics.configure(logging.DEBUG)
    subprocess.run(["true"], check=True)
    assert ("host", "run ['true']") in messages(capsys.readouterr().err)


def test_a_stderr_that_is_closed_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    diagnostics.configure(logging.INFO)
    closed = open("/dev/null", "w")  # noqa: SIM115
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    LOG.info("not shown")
    assert capsys.readouterr().out == ""
