"""Amounts of bytes as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.text import sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("200M", 200 << 20), ("1g", 1 << 30), ("64KiB", 65536), (" 2 TB ", 2 << 40), ("0", 0)],
)
def test_what_is_understood(text: str, size: int) -> None:
    assert sizes.parse(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "1.5G", "10m10", "1e9", "1P", "٣M", "1 0", "10s"])
def test_what_is_not(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount of bytes"):
        sizes.parse(text)


@given(st.integers(0, 1 << 45))
def test_what_is_rendered_is_understood(size: int) -> None:
    assert sizes.parse(sizes.render(size)) == size
