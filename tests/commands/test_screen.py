"""What `record` prints while it records, on terminals and pipes, and on pipes that are full."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import F_GETPIPE_SZ, fcntl

import pytest

from sldtrace.capture.recorder import Status
from sldtrace.commands import screen as module
from sldtrace.commands.screen import Screen, _clock

SECOND = 1_000_000_000


class FakeTerminal:
    """A stderr that is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    screen = Screen()
    screen.status(Status(elapsed_ns=SECOND, traps=1))
    screen.status(Status(elapsed_ns=2 * SECOND, traps=2))
    assert "\n" not in terminal.text
    assert terminal.text.count("\r\x1b[K") == 2
    screen.message("news")
    assert terminal.text.endswith("% CPU\nsldtrace: news\n")
    screen.end()
    assert terminal.text.endswith("news\n")
    screen.status(Status(elapsed_ns=3 * SECOND))
    screen.end()
    screen.end()
    assert terminal.text.endswith("% CPU\n")


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "00:00:00"),
        (SECOND - 1, "00:00:00"),
        (59 * SECOND, "00:00:59"),
        (60 * SECOND, "00:01:00"),
        (3_599 * SECOND, "00:59:59"),
        (3_600 * SECOND, "01:00:00"),
        (360_061 * SECOND, "100:01:01"),
    ],
)
def test_clock(ns: int, text: str) -> None:
    assert _clock(ns) == text


# Refusals


@contextmanager
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Inside of `with` stderr is a pipe; its other end. Not a fixture: pytest sets stderr after these."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", file)
        yield read_end
    with suppress(OSError):
        os.close(read_end)


def filled() -> None:
    """Leaves no room in the pipe that is stderr."""
    descriptor = sys.stderr.fileno()
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        for _ in range(fcntl(descriptor, F_GETPIPE_SZ) // 4096 + 1):
            os.write(descriptor, bytes(4096))
    os.set_blocking(descriptor, True)


def drained(reader: int) -> str:
    """What is in the pipe, which is something, without what filled it."""
    return os.read(reader, 1 << 20).replace(b"\0", b"").decode()


def test_a_full_pipe_does_not_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with piped(monkeypatch) as reader:
        screen = Screen()
        screen.message("one")
        filled()
        screen.message("two")
        screen.message("three")
        screen.status(Status(elapsed_ns=10 * SECOND))
        assert drained(reader) == "sldtrace: one\n"
        screen.message("four")
        assert drained(reader).splitlines() == [
            "sldtrace: messages that are left out here, because stderr was full: 2",
            "sldtrace: four",
        ]
        screen.message("five")
        assert drained(reader) == "sldtrace: five\n"


def test_at_the_end_it_says_what_was_left_out_and_leaves_out_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_has_room", lambda: False)
    with piped(monkeypatch) as reader:
        screen = Screen()
        screen.message("lost")
        screen.end()
        screen.message("last")
        assert drained(reader).splitlines() == [
            "sldtrace: messages that are left out here, because stderr was full: 1",
            "sldtrace: last",
        ]


def test_progress_that_had_no_room_is_shown_when_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    with piped(monkeypatch) as reader:
        screen = Screen()
        filled()
        screen.status(Status(elapsed_ns=10 * SECOND, traps=1))
        assert drained(reader) == ""
        screen.status(Status(elapsed_ns=11 * SECOND, traps=2))
        assert drained(reader).startswith("00:00:11  traps 2 ")


def test_a_reader_that_is_gone_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = False
    with suppress(BrokenPipeError), piped(monkeypatch) as reader:  # its file has a buffer when it is closed
        screen = Screen()
        os.close(reader)
        screen.message("one")
        screen.status(Status(elapsed_ns=10 * SECOND))
        printed = True
    assert printed
