"""Lengths of time: what is understood, what is refused, and that written ones are read back."""

import contextlib

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.text.durations import Duration, parse, render


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1ms", 1_000_000),
        ("500us", 500_000),
        ("2s", 2_000_000_000),
        ("2", 2_000_000_000),
        ("0.25", 250_000_000),
        ("1.5m", 90_000_000_000),
        ("10h", 36_000_000_000_000),
        ("7ns", 7),
        (" 1 ms ", 1_000_000),
        ("0", 0),
        ("0.1ms", 100_000),  # exact, unlike 0.1 * 1e6 in general
        ("1.0000000019s", 1_000_000_001),
    ],
)
def test_parse(text: str, ns: int) -> None:
    assert parse(text) == ns


@pytest.mark.parametrize(
    "text",
    ["", "ms", "-1ms", "1 0ms", "1d", "1e3", "1,5s", "nan", "inf", "0x10", "1ms2s", ".5", "٣s", "9" * 16],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        parse(text)


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_render_is_read_back(ns: int) -> None:
    assert parse(render(ns)) == ns


@given(st.text())
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse(text) >= 0


@pytest.mark.parametrize(
    ("arguments", "output", "status"),
    [
        ([], "1000000", 0),
        (["--time", "1us"], "1000", 0),
        (["--time", "1h"], "3600000000000", 0),
        (["--time", "0"], "'0' is not between 1us and 3600s", 2),
        (["--time", "3601s"], "'3601s' is not between 1us and 3600s", 2),
        (["--time", "-1"], "is not a length of time", 2),
        (["--time", "soon"], "'soon' is not a length of time", 2),
    ],
)
def test_option(arguments: list[str], output: str, status: int) -> None:
    @click.command()
    @click.option("--time", type=Duration("1us", "1h"), default="1ms")
    def command(time: int) -> None:
        click.echo(time)

    result = CliRunner().invoke(command, arguments)
    assert output in result.output
    assert result.exit_code == status
