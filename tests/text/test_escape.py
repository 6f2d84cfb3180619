"""What may be printed, and what becomes of the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.text.escape import comm, escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("CPU 0/KVM", "CPU 0/KVM"),
        ("Grüße, 東京", "Grüße, 東京"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egnp", r"\u202egnp"),
        ("\u200f\u2066\u2069\u200b\ufeff", r"\u200f\u2066\u2069\u200b\ufeff"),
        ("\u2028\u0085\xa0", r"\u2028\x85\xa0"),
        ("\x9b\x7f\x00", r"\x9b\x7f\x00"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("", ""),
        (b"bytes", "bytes"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\xe2\x80\xae", r"\u202e"),
        (b"\xc3", r"\xc3"),
    ],
)
def test_escape(text: str | bytes, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("length", "limit", "shown"),
    [(200, 200, "x" * 200), (201, 200, "x" * 197 + "..."), (5, 4, "x..."), (4, 4, "xxxx"), (4096, 3, "...")],
)
def test_what_is_cut_is_seen_to_be_cut(length: int, limit: int, shown: str) -> None:
    assert escape("x" * length, limit) == shown


def test_the_limit_is_that_of_what_is_shown() -> None:
    assert len(escape("\x1b" * 200)) == 200
    assert escape("\x1b" * 200).endswith("...")


everything = st.one_of(st.text(st.characters(exclude_categories=()), max_size=300), st.binary(max_size=300))


@given(everything, st.integers(3, 400))
def test_nothing_unprintable_and_never_longer(text: str | bytes, limit: int) -> None:
    shown = escape(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=200))
def test_what_is_harmless_stays(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"python3\0\0\0\0\0\0\0\0\0", "python3"),
        (b"python3\0secret\0\0", "python3"),
        (b"sixteen bytes ok", "sixteen bytes ok"),
        (b"\0\0", ""),
        (b"\x1b[2J\0", r"\x1b[2J"),
        (b"cut \xe6\x9d\0", r"cut \xe6\x9d"),
    ],
)
def test_names_of_threads_end_at_the_first_nul(raw: bytes, shown: str) -> None:
    assert comm(raw) == shown
