"""Colour: on a terminal, unless NO_COLOR is set, and each tone has its own."""

import sys

import pytest

from sldtrace.reporters.document import Tone
from sldtrace.reporters.style import Style


@pytest.mark.parametrize(
    ("terminal", "no_color", "colour"),
    [(True, None, True), (True, "", True), (True, "1", False), (False, None, False)],
)
def test_colour_of_standard_output(
    terminal: bool, no_color: str | None, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty NO_COLOR does not count: no-color.org."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert Style.of_stdout().colour is colour


def test_each_tone_has_its_colour() -> None:
    style = Style(colour=True)
    assert len({style.loud("x", tone) for tone in Tone}) == len(Tone)
    assert style.loud("x", None) == Style().loud("x", Tone.CRITICAL) == "x"
