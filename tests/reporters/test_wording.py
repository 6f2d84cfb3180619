"""Numbers and times in words."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.reporters import wording
from tests.analyzers.synthetic import FACTS, MS, START_NS, facts, trace

UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9}


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 us"),
        (5_760, "5.76 us"),
        (999, "1 us"),
        (950_000, "950 us"),
        (1_000_000, "1 ms"),
        (972_300, "972 us"),
        (9_994_999, "9.99 ms"),
        (12 * MS, "12 ms"),
        (12_340_000, "12.3 ms"),
        (1_980_000_000, "1.98 s"),
        (205_000_000_000, "205 s"),
        (86_400_000_000_000, "86,400 s"),
        (-5_760, "-5.76 us"),
    ],
)
def test_length(ns: int, text: str) -> None:
    assert wording.length(ns) == text


@given(st.integers(0, 10**18))
def test_length_is_right_to_half_of_its_last_digit(ns: int) -> None:
    number, unit = wording.length(ns).split(" ")
    value = float(number.replace(",", "")) * UNITS[unit]
    # Three significant digits, below 10 us no more than two after the point; from 1000 s on whole seconds.
    assert abs(value - ns) <= max(0.0051 * ns, 5.1)
    assert number == "0" or not number.startswith(".")
    assert "." not in number or not number.endswith("0")


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_a_longer_time_never_looks_shorter(a: int, b: int) -> None:
    def value(ns: int) -> float:
        number, unit = wording.length(ns).split(" ")
        return float(number.replace(",", "")) * UNITS[unit]

    if a <= b:
        assert value(a) <= value(b) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("after_ns", "date", "text"),
    [
        (0, True, "2026-09-21 14:13:20.000 UTC"),
        (1_999_000, False, "14:13:20.001 UTC"),
        (86_400_000 * MS, True, "2026-09-22 14:13:20.000 UTC"),
    ],
)
def test_moment(tmp_path: Path, after_ns: int, date: bool, text: str) -> None:
    assert wording.moment(trace(tmp_path), START_NS + after_ns, date) == text


def test_moment_without_a_wall_clock(tmp_path: Path) -> None:
    recorded = trace(tmp_path, opening=facts(clock=None), ended={})
    assert wording.moment(recorded, 12_345 * MS) == "12.345 s of the host's clock"


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("trap",), "0 traps"),
        (1, ("trap",), "1 trap"),
        (2000, ("trap",), "2,000 traps"),
        (1, ("penalty", "penalties"), "1 penalty"),
        (2, ("penalty", "penalties"), "2 penalties"),
    ],
)
def test_plural(count: int, words: tuple[str, ...], text: str) -> None:
    assert wording.plural(count, *words) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0 %"), (5, 0, "0 %"), (1, 2, "50 %"), (46, 10_000, "0.46 %"), (0, 7, "0 %"), (2, 2, "100 %")],
)
def test_percent(part: float, whole: float, text: str) -> None:
    assert wording.percent(part, whole) == text


@pytest.mark.parametrize(("part", "text"), [(998, "99.8 %"), (994, "99.4 %"), (1000, "100 %")])
def test_nearly_all_is_not_all(part: int, text: str) -> None:
    assert wording.percent(part, 1000) == text


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_percent_is_a_plain_number(part: int, whole: int) -> None:
    text = wording.percent(min(part, whole), whole)
    assert re.fullmatch(r"\d+(\.\d+)? %", text)
    assert abs(float(text[:-2]) - 100 * min(part, whole) / whole) <= 0.5


HOST = "Linux 6.12.48+deb13-amd64, HZ=250, 11th Gen Intel(R) Core(TM) i7-1185G7"


@pytest.mark.parametrize(
    ("opening", "lines"),
    [
        (FACTS, [HOST, "split_lock_detect=warn, kernel.split_lock_mitigate=1"]),
        (
            facts(kernel={"tick_ns": 3_333_333}, split_lock={"mitigate": None, "mode": "off"}),
            [HOST.replace("250", "300"), "split_lock_detect=off, no kernel.split_lock_mitigate"],
        ),
        (
            {},
            [
                "Linux of unknown version, HZ unknown, CPU",
                "split_lock_detect=?, no kernel.split_lock_mitigate",
            ],
        ),
    ],
)
def test_host(tmp_path: Path, opening: dict[str, Any], lines: list[str]) -> None:
    assert wording.host(trace(tmp_path, opening=opening)) == lines


def test_a_later_moment_has_a_date_if_that_is_another_one(tmp_path: Path) -> None:
    recorded = trace(tmp_path, [])
    for hours, text in ((1, "15:13:20.000 UTC"), (24, "2026-09-22 14:13:20.000 UTC")):
        assert wording.moment_since(recorded, START_NS, START_NS + hours * 3_600_000 * MS) == text
