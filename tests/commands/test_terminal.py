"""A report in a terminal, which tmux is, with less as the pager."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.analyzers.synthetic import loop, write
from tests.waiting import until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not (shutil.which("tmux") and shutil.which("less")), reason="tmux or less is not installed"
)


class Terminal:
    """A tmux server of its own, with a report in its one window."""

    def __init__(self, folder: Path, size: tuple[int, int], *options: str, **environment: str) -> None:
        path = write(folder / "a.sld", loop(200))
        given = {name: value for name, value in os.environ.items() if "PAGER" not in name}
        self._environment = given | {"TERM": "xterm", "PYTHONPATH": str(ROOT), **environment}
        for name in ("LESS", "TMUX", "COLUMNS", "LINES"):
            self._environment.pop(name, None)
        self._socket = str(folder / "tmux")
        report = " ".join([f"'{sys.executable}'", "-m", "sldtrace", "report", *options, f"'{path}'"])
        # The shell has to outlive Ctrl-C.
        command = f"trap : INT; {report}; echo status $?; cat"
        columns, lines = map(str, size)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", lines, command)

    def tmux(self, *arguments: str) -> str:
        """What tmux says."""
        command = ["tmux", "-S", self._socket, *arguments]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=True
        ).stdout

    def shows(self, text: str) -> str:
        """The screen when it has that text."""
        until(lambda: text in self.tmux("capture-pane", "-p"), f"{text!r} on the screen")
        return self.tmux("capture-pane", "-p")

    def press(self, key: str) -> None:
        """Presses this key, named as tmux names it."""
        self.tmux("send-keys", key)


Make = Callable[..., Terminal]


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Make]:
    made: list[Terminal] = []

    def make(*arguments: object, **environment: str) -> Terminal:
        made.append(Terminal(tmp_path, *arguments, **environment))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.tmux("kill-server")


def at_the_end(terminal: Terminal) -> bool:
    """Goes there; less may drop keys that come with Ctrl-C."""
    terminal.press("G")
    return "(END)" in terminal.tmux("capture-pane", "-p")


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_less_shows_the_summary_first_and_stays_on_ctrl_c(size: tuple[int, int], report: Make) -> None:
    terminal = report(size)
    first = terminal.shows("\n:")  # the prompt of less
    assert first.startswith("Split locks on")
    assert "\nLIVELOCK: " in first
    assert max(map(len, first.splitlines())) <= size[0]
    terminal.press("C-c")
    until(partial(at_the_end, terminal), "the end of the text")
    terminal.press("q")
    assert "Traceback" not in terminal.shows("status 130")


def test_what_fits_the_terminal_is_printed_without_a_prompt(report: Make) -> None:
    assert "LIVELOCK" in report((120, 60), "--brief").shows("status 0")


def test_ctrl_c_that_ends_the_pager_ends_the_report_by_sigint(report: Make) -> None:
    terminal = report((80, 24), PAGER="echo the pager runs; exec sleep 600")
    terminal.shows("the pager runs")
    terminal.press("C-c")
    shown = terminal.shows("status 130")
    assert "sldtrace: interrupted" in shown
    assert "Traceback" not in shown
