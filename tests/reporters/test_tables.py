"""Tables: as wide as their content and no wider, and nothing in them is taken for something else."""

import pytest

from sldtrace.reporters import tables

ROWS = [{"name": "a", "n": "1,000"}, {"name": "long", "n": "0x10"}]


def test_left_and_right() -> None:
    assert tables.table(ROWS).splitlines() == ["name  n", "----  -----", "a     1,000", "long  0x10"]
    assert tables.table(ROWS, numbers=True).splitlines() == [
        "name      n",
        "----  -----",
        "a     1,000",
        "long   0x10",
    ]


def test_values_stay_as_they_are() -> None:
    values = ("1e5", "007", "-1_000", "nan")
    text = tables.table([{"name": value} for value in values])
    assert text.splitlines()[2:] == list(values)


def test_headers_of_two_lines_stand_on_the_rule() -> None:
    rows = [{"name": "a", "not\npenalized": "12"}]
    assert tables.table(rows, numbers=True).splitlines() == [
        "            not",
        "name  penalized",
        "----  ---------",
        "a            12",
    ]


@pytest.mark.parametrize(
    ("width", "first"),
    [(20, "a long name     1"), (16, "a long name    1"), (14, "a l...ame    1"), (3, "a l...me    1")],
)
def test_a_narrow_terminal_takes_blanks_first_and_then_the_name(width: int, first: str) -> None:
    made = tables.lay_out(["who", "n"], [["a long name", "1"], ["b", "1000"]], [False, True], width)
    assert made.splitlines()[2] == first


def test_no_rows_are_no_table() -> None:
    assert tables.table([]) == ""
