"""The table of kernels in docs/lab.md is that of lab/kernel.py."""

from dataclasses import replace

from lab.kernel import DEFAULT, KERNELS
from tools import lab_page

PAGE = lab_page.PAGE.read_text(encoding="utf-8")


def test_page_is_up_to_date() -> None:
    assert lab_page.updated(PAGE) == PAGE, "run python -m tools.lab_page"


def test_a_row_follows_its_kernel() -> None:
    slower = replace(KERNELS[DEFAULT], hz=100, suite="other")
    table = lab_page.kernels([slower])
    assert table != lab_page.kernels([KERNELS[DEFAULT]])
    assert "| other | 100 | 3 jiffies: 30 to 40 ms |" in table
