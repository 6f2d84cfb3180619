"""Progress: stages stay, the present state moves on a terminal and is a line now and then elsewhere."""

import io

from lab.progress import INTERVAL, Progress


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_the_state_is_a_line_each_half_minute() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress(out, terminal=False, clock=clock)
    for _ in range(95):
        clock.now += 1
        progress.live("at work")
    assert out.getvalue().splitlines() == [f"lab: [ {seconds}.0 s] at work" for seconds in (30, 60, 90)]


def test_a_stage_is_a_line_too() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress(out, terminal=False, clock=clock)
    clock.now += INTERVAL - 1
    progress.stage("one")
    clock.now += INTERVAL - 1
    progress.live("not yet")
    clock.now += 1
    progress.live("now")
    assert [line.partition("] ")[2] for line in out.getvalue().splitlines()] == ["one", "now"]


def test_on_a_terminal_the_line_moves_and_a_stage_takes_its_place() -> None:
    out = io.StringIO()
    progress = Progress(out, terminal=True, clock=Clock())
    progress.live("first")
    progress.live("second")
    progress.stage("done")
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text.index("first") < text.index("second") < text.index("done")
    assert text.count("\r") == 4


def test_quiet_is_quiet() -> None:
    out, clock = io.StringIO(), Clock()
    for terminal in (False, True):
        progress = Progress(out, terminal, quiet=True, clock=clock)
        progress.stage("a")
        clock.now += 100
        progress.live("b")
    assert out.getvalue() == ""
