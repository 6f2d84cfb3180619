"""Tables: as wide as their content and no wider, and nothing in them is taken for something else."""

import tabulate

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
    """tabulate would make numbers of texts: 1e5 to 100000, 007 to 7."""
    text = tables.table([{"name": value} for value in ("1e5", "007", "-1_000", "nan")])
    assert text.splitlines()[2:] == ["1e5", "007", "-1_000", "nan"]


def test_other_users_of_tabulate_are_not_affected() -> None:
    before = tabulate.MIN_PADDING
    tables.table(ROWS)
    assert before == tabulate.MIN_PADDING != 0
