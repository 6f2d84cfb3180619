"""The emulator's edits: every anchor once or the build stops, in a tree made up for the test."""

from pathlib import Path

import pytest

from lab import edits
from lab.edits import Edit
from lab.failures import LabError


@pytest.mark.parametrize(
    ("where", "expected"),
    [("before", "a\nNEW\nx\nb\n"), ("after", "a\nx\nNEW\nb\n"), ("instead", "a\nNEW\nb\n")],
)
def test_the_text_goes_where_it_is_told(where: str, expected: str) -> None:
    edit = Edit("f", "x\n", where, "NEW\n")  # type: ignore[arg-type]
    assert edit.apply("a\nx\nb\n") == expected


@pytest.mark.parametrize(("source", "count"), [("", 0), ("x x", 2), ("y", 0)])
def test_an_anchor_that_is_not_there_once_stops_the_build(source: str, count: int) -> None:
    with pytest.raises(LabError, match=f"occurs {count} times"):
        Edit("f", "x", "instead", "y").apply(source)


def test_edits_of_one_file_follow_each_other_and_other_bytes_stay(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one\ntwo\n\xe9\xff\n")
    edits.apply(tmp_path, (Edit("f", "one\n", "after", "1\n"), Edit("f", "1\n", "after", "1.5\n")))
    assert (tmp_path / "f").read_bytes() == b"one\n1\n1.5\ntwo\n\xe9\xff\n"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"cpu/none\.cc"):
        edits.apply(tmp_path, (Edit("cpu/none.cc", "x", "instead", "y"),))


def test_our_edits_apply_once_to_a_tree_of_their_anchors_and_not_twice(tmp_path: Path) -> None:
    for name in {edit.file for edit in edits.EDITS}:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("/* fake */\n".join(edit.anchor for edit in edits.EDITS if edit.file == name))
    edits.apply(tmp_path, edits.EDITS)
    for edit in edits.EDITS:
        assert edit.text in (tmp_path / edit.file).read_text()
    # A tree that has been edited is not edited again: some replaced anchor is gone.
    with pytest.raises(LabError, match="occurs 0 times"):
        edits.apply(tmp_path, edits.EDITS)
