"""A sweep in the terminal: the plot has its marks where the numbers are, in any width and character set."""

import re

import pytest

from sldtrace.reporters import sweep_plot
from sldtrace.reporters.style import Style
from tests.reporters.sweeps import SWEEP, figure


def rows(text: str) -> list[str]:
    """The lines of the plot itself, without its axes."""
    return [line[10:] for line in text.splitlines() if line[9:10] in ("│", "|")]


def test_marks_are_where_the_numbers_are() -> None:
    plot = sweep_plot.as_plot(figure(), Style(80))
    lines = rows(plot)
    assert len(lines) == 12
    # Nothing at 1 and 8 ms, on the floor; 400k and 1M of at most 1.5M or so above it.
    assert [at.start() for at in re.finditer("○", lines[-1])] == [3, 22]
    (alive,) = [row for row, line in enumerate(lines) if "●" in line]
    free = {row for row, line in enumerate(lines) if "◆" in line}
    assert max(free) < alive < 11
    assert any(0x2800 < ord(char) < 0x2900 for line in lines for char in line)
    assert "line: model" in plot


@pytest.mark.parametrize("width", [80, 100, 120])
def test_it_fits(width: int) -> None:
    assert max(map(len, sweep_plot.as_plot(figure(), Style(width)).splitlines())) <= width


def test_a_plain_terminal_gets_plain_characters() -> None:
    plot = sweep_plot.as_plot(figure(), Style(80), unicode=False)
    assert plot.isascii()
    assert {"o", "*", "#", "."} <= set("".join(rows(plot)))
    assert "\x1b" not in plot
    assert "\x1b[31m●\x1b[0m" in sweep_plot.as_plot(figure(), Style(80, colour=True))


def test_a_hostile_name_stays_text() -> None:
    assert "\x1b" not in sweep_plot.as_plot(figure(release="6.1\x1b]0;x\x07"), Style(80))


def test_the_table_has_the_model_beside_each_point() -> None:
    _head, _rule, dead, _, alive, *_ = sweep_plot.as_table(figure()).splitlines()
    assert dead.split() == ["1", "1ms", "360", "0", "none", "none"]
    *measured, model = alive.split()
    assert measured == ["1", "25ms", "16", "160,000", "400,000"]
    assert 100_000 < int(model.replace(",", "")) < 1_000_000
    unknown = sweep_plot.as_table(figure(points=SWEEP.points[:2]))
    assert unknown.splitlines()[-1].split()[-1] == "-"
