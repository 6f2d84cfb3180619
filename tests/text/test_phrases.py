"""Amounts and addresses in words; tests/reporters/test_wording.py has the lengths and shares."""

import pytest

from sldtrace.text import phrases


@pytest.mark.parametrize(("value", "text"), [(0, "0x0"), (0x7C40, "0x7c40"), (1 << 63, "0x8000000000000000")])
def test_address(value: int, text: str) -> None:
    assert phrases.address(value) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [(950_000, "0.95"), (12_000_000, "12"), (1_234_567, "1.23"), (10**9, "1,000"), (20, "0.00002"), (0, "0")],
)
def test_ms(ns: int, text: str) -> None:
    assert phrases.ms(ns) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0, 3, "0"),
        (0.3, 6, "0.3"),
        (1e-7, 3, "0.0000001"),
        (2e6, 3, "2000000"),
        (999.7, 3, "1000"),
        (-1.5, 6, "-1.5"),
    ],
)
def test_significant(value: float, digits: int, text: str) -> None:
    assert phrases.significant(value, digits) == text


@pytest.mark.parametrize(("per_s", "text"), [(8.4, "8.4"), (83.0, "83"), (12_000.4, "12,000")])
def test_rate(per_s: float, text: str) -> None:
    assert phrases.rate(per_s) == text
