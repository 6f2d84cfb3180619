"""Top in a real terminal (tmux): sizes, a change of size in the middle, keys, a thousand threads."""

import curses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sldtrace.recording.writer import Writer
from sldtrace.top.frame import RESIZE
from sldtrace.top.screen import Screen
from tests.analyzers.synthetic import FACTS, MS, VMM, array, loop
from tests.terminal import MISSING, Terminal
from tests.waiting import until

pytestmark = pytest.mark.skipif(MISSING, reason="tmux is not installed")

THREADS = 1000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten VMs of 100 vCPUs, all in a livelock for a second."""
    one = array("trap", loop(1000))
    path = tmp_path_factory.mktemp("top") / "many.sld"
    writer = Writer(path, {**FACTS, "clock": {"monotonic_ns": 1_000 * MS, "realtime_ns": 10**18}})
    for first in range(0, 1000, 100):
        traps = np.tile(one[first : first + 100], THREADS)
        number = np.repeat(np.arange(THREADS), 100)
        traps["tgid"], traps["tid"] = VMM + number // 100, 5000 + number
        traps["vcpu"], traps["start_cpu"] = number % 100, number
        traps["end_cpu"] = number
        writer.append("trap", traps[np.argsort(traps["end_ns"], kind="stable")])
    writer.close({"ended_by": "duration", "clock": {"monotonic_ns": 2_100 * MS, "realtime_ns": 10**18}})
    return path


@pytest.fixture
def terminal(recording: Path, tmp_path: Path) -> Iterator[Terminal]:
    top = f"'{sys.executable}' -m sldtrace top --utc --speed 1 '{recording}'"
    found = Terminal(tmp_path, (80, 24), top)
    yield found
    found.close()


def test_a_thousand_threads_in_a_terminal_that_changes_its_size(terminal: Terminal) -> None:
    terminal.shows("10 VMs, 1,000 threads")
    terminal.shows("LIVELOCK: ")
    found = terminal.shows("livelock", 10)
    assert len(found) == 24
    assert max(map(len, found)) < 80
    assert sum("livelock" in line for line in found) == 10
    assert found[1].startswith("LIVELOCK: ")
    terminal.press("Down", "Enter")
    terminal.shows("vCPU 3")
    terminal.tmux("resize-window", "-x", "200", "-y", "50")
    terminal.shows("address")
    found = terminal.shows("vCPU", 31)
    assert len(found) == 50
    terminal.tmux("resize-window", "-x", "60", "-y", "12")

    def fits() -> bool:  # tmux cuts what was drawn for the larger terminal, until it is drawn again
        lines = terminal.lines()
        return len(lines) == 12 and max(map(len, lines)) < 60 and any("livelock" in line for line in lines)

    until(fits, "12 rows")
    terminal.press("h")
    terminal.shows("pause; the recording goes on")
    terminal.press("x", "s")
    terminal.tmux("resize-window", "-x", "100", "-y", "30")
    terminal.shows("s sort: traps")
    terminal.press("q")
    terminal.shows("ended 0")


class Window:
    """Of a curses that has not seen that the terminal is larger now, and of which no key was pressed."""

    size = (24, 80)

    def getch(self) -> int:
        return -1

    def getmaxyx(self) -> tuple[int, int]:
        return self.size


def test_a_change_of_size_that_curses_missed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window()
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((200, 50)))
    monkeypatch.setattr(curses, "resizeterm", lambda *size: setattr(window, "size", size))
    seen = Screen()
    seen._window = window
    assert seen.keys() == [RESIZE]
    assert window.size == (50, 200)
    assert seen.keys() == []


def test_ctrl_c_gives_the_terminal_back(terminal: Terminal) -> None:
    terminal.shows("1,000 threads")
    terminal.press("C-c")
    found = terminal.shows("ended ")
    assert [line for line in found if line.startswith("ended ")] == ["ended 130"]
    assert not any("Traceback" in line for line in found)
