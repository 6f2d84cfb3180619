"""Which handler a kernel has: by what it has, and by version where nothing tells."""

import pytest

from sldtrace.host import kallsyms
from sldtrace.model import generation
from sldtrace.model.generation import PENALTY, PER_CPU, SWITCHABLE, TASK_FLAG, Generation


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("5.4.0", TASK_FLAG),
        ("5.18.19-051819-generic", TASK_FLAG),
        ("5.19.0-46-generic", PENALTY),
        ("6.1.0", PENALTY),
        ("6.2.0", SWITCHABLE),
        ("6.14.11", SWITCHABLE),
        ("6.15.0-rc1", PER_CPU),
        ("7.2.13+deb14-cloud-amd64", PER_CPU),
        ("10.0", PER_CPU),
        ("", PENALTY),
    ],
)
def test_by_version(release: str, expected: Generation) -> None:
    assert generation.for_release(release) is expected


def test_the_sysctl_counts_for_more_than_the_version() -> None:
    """Debian's 6.1 has it; a kernel without it cannot be switched, whatever its number."""
    assert generation.for_release("6.1.0-50-cloud-amd64", has_sysctl=True) is SWITCHABLE
    assert generation.for_release("", has_sysctl=True) is SWITCHABLE
    assert generation.for_release("6.12.1", has_sysctl=True) is SWITCHABLE
    assert generation.for_release("6.15.1", has_sysctl=True) is PER_CPU
    assert generation.for_release("6.12.1", has_sysctl=False) is PENALTY
    assert generation.for_release("6.1.0", has_sysctl=False) is PENALTY
    assert generation.for_release("5.10.0", has_sysctl=False) is TASK_FLAG


def test_who_was_seen_to_sleep_has_the_penalty() -> None:
    assert generation.for_release("5.14.0-70.el9", slept=True) is PENALTY
    assert generation.for_release("6.12.1", slept=True) is SWITCHABLE


def test_the_symbols_that_tell_them_apart_are_those_that_are_looked_for() -> None:
    assert {name for each in generation.GENERATIONS for name in each.symbols} == kallsyms.GENERATION_SYMBOLS


def test_generations_are_in_order() -> None:
    begins = [each.since for each in generation.GENERATIONS]
    assert begins == sorted(begins)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (0, None),
        (1, generation.TASK_FLAG),
        (2, generation.PENALTY),
        (3, generation.SWITCHABLE),
        (4, generation.PER_CPU),
    ],
)
def test_by_symbols(found: int, expected: generation.Generation | None) -> None:
    """Each generation has the symbols of those before it."""
    symbols = [each.symbols[0] for each in generation.GENERATIONS]
    assert generation.from_symbols(symbols[:found]) is expected
    assert generation.from_symbols(symbols[1:]) is None
