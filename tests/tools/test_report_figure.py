"""The picture of a report has the terminal's colours and places, and the text that the command prints."""

from tools import report_figure


def test_spans_have_their_column_and_colour() -> None:
    assert report_figure.spans("\x1b[31;1mLIVELOCK\x1b[0m: vCPU") == [
        (0, "LIVELOCK", ["31", "1"]),
        (8, ": vCPU", []),
    ]
    assert report_figure.spans("") == []


def test_the_picture_has_every_text_at_its_place() -> None:
    picture = report_figure.svg(["\x1b[31;1mA & B\x1b[0m", "  x"])
    assert '<text x="16" y="29" textLength="40"' in picture
    assert 'fill="#ff7b72" font-weight="bold" xml:space="preserve">A &amp; B</text>' in picture
    assert '<text x="32" y="46" textLength="8"' in picture


def test_the_picture_in_the_documentation_is_that_of_today() -> None:
    """If not: make docs."""
    today = report_figure.svg(report_figure.lines(report_figure.printed(report_figure.RECORDING)))
    assert report_figure.FIGURE.read_text() == today
