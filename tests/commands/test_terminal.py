"""A report in a terminal, which tmux is, with less as the pager."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.analyzers.synthetic import loop, write
from tests.terminal import MISSING, Terminal
from tests.waiting import until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    MISSING or shutil.which("less") is None, reason="tmux or less is not installed"
)


Make = Callable[..., Terminal]


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Make]:
    made: list[Terminal] = []

    def make(size: tuple[int, int], *options: str, **environment: str) -> Terminal:
        path = write(tmp_path / "a.sld", loop(200))
        given = {name: value for name, value in os.environ.items() if "PAGER" not in name}
        report = " ".join([f"'{sys.executable}'", "-m", "sldtrace", "report", *options, f"'{path}'"])
        made.append(Terminal(tmp_path, size, report, given | {"PYTHONPATH": str(ROOT), **environment}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def at_the_end(terminal: Terminal) -> bool:
    """Goes there; less may drop keys that come with Ctrl-C."""
    terminal.press("G")
    return any("(END)" in line for line in terminal.lines())


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_less_shows_the_summary_first_and_stays_on_ctrl_c(size: tuple[int, int], report: Make) -> None:
    terminal = report(size)
    until(lambda: terminal.lines()[-1:] == [":"], "the prompt of less")
    first = terminal.lines()
    assert first[0].startswith("Split locks on")
    assert any(line.startswith("LIVELOCK: ") for line in first)
    assert max(map(len, first)) <= size[0]
    terminal.press("C-c")
    until(partial(at_the_end, terminal), "the end of the text")
    terminal.press("q")
    assert not any("Traceback" in line for line in terminal.shows("ended 130"))


def test_what_fits_the_terminal_is_printed_without_a_prompt(report: Make) -> None:
    shown = report((120, 60), "--brief").shows("ended 0")
    assert any(line.startswith("LIVELOCK") for line in shown)


def test_ctrl_c_that_ends_the_pager_ends_the_report_by_sigint(report: Make) -> None:
    terminal = report((80, 24), PAGER="echo the pager runs; exec sleep 600")
    terminal.shows("the pager runs")
    terminal.press("C-c")
    shown = terminal.shows("ended 130")
    assert any("sldtrace: interrupted" in line for line in shown)
    assert not any("Traceback" in line for line in shown)
