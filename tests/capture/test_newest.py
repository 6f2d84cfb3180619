"""A dictionary of bounded size."""

from sldtrace.capture.newest import Newest


def test_what_was_set_last_is_kept() -> None:
    kept = Newest[str](3)
    for key in (1, 2, 3, 1, 4):
        kept[key] = str(key)
    assert list(kept.items()) == [(3, "3"), (1, "1"), (4, "4")]
    kept[3] = "again"
    kept[5] = "5"
    assert dict(kept) == {4: "4", 3: "again", 5: "5"}
