"""The account of discarded chunks in the file, where anything may stand instead."""

from typing import Any

import pytest

from sldtrace.recording.discarded import Discarded, parse

SOUND: dict[str, Any] = {
    "below": 7,
    "records": {"trap": 3},
    "first_ns": 10,
    "last_ns": 20,
    "lost": [[1, 2, 3, 4]],
    "limit_ns": 5,
    "limit_bytes": 6,
}
LARGEST = (1 << 63) - 1


def test_an_account_comes_back() -> None:
    account = Discarded(7, {"trap": 3, "exit": 0}, 10, 20, {(1, 2, 3): 4, (0, 0, 0): 0}, 5, 6)
    assert parse(account.to_json()) == account
    assert parse(SOUND) == Discarded(7, {"trap": 3}, 10, 20, {(1, 2, 3): 4}, 5, 6)
    assert parse({"below": 1}) == Discarded(below=1)
    assert parse({"below": LARGEST}) == Discarded(below=LARGEST)


@pytest.mark.parametrize(
    "value", [None, [], 7, {}, *({"below": each} for each in (0, -1, True, "1", 1.0, 1 << 63))]
)
def test_without_a_count_of_chunks_there_is_none(value: Any) -> None:
    assert parse(value) is None


@pytest.mark.parametrize("odd", [-1, True, "1", 1.0, None, [], 1 << 63])
def test_what_is_no_count_is_left_out(odd: Any) -> None:
    found = parse(SOUND | {"records": {"trap": odd, "exit": 1}, "first_ns": odd, "last_ns": odd})
    assert found is not None
    assert (found.records, found.first_ns, found.last_ns) == ({"exit": 1}, 0, 0)
    found = parse(SOUND | {"limit_ns": odd, "limit_bytes": odd, "lost": [[1, 2, 3, odd], [0, 0, 0, LARGEST]]})
    assert found is not None
    assert (found.limit_ns, found.limit_bytes, found.lost) == (None, None, {(0, 0, 0): LARGEST})


@pytest.mark.parametrize("odd", [[1, 2, 3], [1, 2, 3, 4, 5], (1, 2, 3, 4), "1234", {}, None])
def test_sums_of_another_form_are_left_out(odd: Any) -> None:
    found = parse(SOUND | {"lost": [odd]})
    assert found is not None
    assert found.lost == {}
    found = parse(SOUND | {"lost": odd, "records": odd})
    assert found is not None
    assert (found.lost, found.records) == ({}, {})


def test_times_are_those_of_the_records() -> None:
    account = Discarded()
    account.add("trap", 0, 50, 60)
    assert (account.first_ns, account.last_ns) == (50, 60)
    account.add("trap", 2, 10, 20)
    assert (account.first_ns, account.last_ns) == (10, 20)
    account.add("exit", 1, 15, 30)
    account.add("trap", 1, 5, 12)
    assert (account.first_ns, account.last_ns, account.records) == (5, 30, {"trap": 3, "exit": 1})
