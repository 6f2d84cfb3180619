"""The emulator's patches: they apply without fuzz or the build stops, in trees made up for the test."""

import re
from pathlib import Path

import pytest

from lab import patching
from lab.failures import LabError

PATCH = """\
Subject: x

--- a/cpu/f.cc
+++ b/cpu/f.cc
@@ -1,3 +1,3 @@
 one
-two
+2
 three
"""
HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("latin-1"))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def hunks(patch: Path) -> list[tuple[str, int, list[str]]]:
    """File, first line before the patch, and the lines with their marks, of each hunk."""
    found: list[tuple[str, int, list[str]]] = []
    file = ""
    for line in patch.read_text("latin-1").partition("\n--- ")[2].splitlines():
        if line.startswith(("a/", "--- a/")):
            file = line.partition("a/")[2]
        elif begin := HUNK.match(line):
            found.append((file, int(begin[1]), []))
        elif not line.startswith("+++ b/"):
            found[-1][2].append(line)
    return found


def test_a_patch_changes_its_lines_and_no_other_byte(tree: Path, tmp_path: Path) -> None:
    source = written(tree / "cpu/f.cc", "one\ntwo\nthree\n\xe9\xff\n")
    patching.apply(tree, [written(tmp_path / "a.patch", PATCH)])
    assert source.read_bytes() == b"one\n2\nthree\n\xe9\xff\n"
    assert [path.name for path in tree.rglob("*") if path.is_file()] == ["f.cc"]


@pytest.mark.parametrize("source", ["", "one\ntwo and a half\nthree\n", "one\n2\nthree\n", None])
def test_a_patch_that_does_not_apply_is_one_line_with_patch_and_file(
    source: str | None, tree: Path, tmp_path: Path
) -> None:
    if source is not None:
        written(tree / "cpu/f.cc", source)
    with pytest.raises(LabError) as caught:
        patching.apply(tree, [written(tmp_path / "a.patch", PATCH)])
    assert caught.value.message == "a.patch does not apply to cpu/f.cc"


def test_context_must_be_the_same(tree: Path, tmp_path: Path) -> None:
    written(tree / "cpu/f.cc", "ONE\ntwo\nthree\n")
    with pytest.raises(LabError, match=r"a\.patch does not apply to cpu/f\.cc"):
        patching.apply(tree, [written(tmp_path / "a.patch", PATCH)])


def test_the_second_file_is_named_when_the_first_is_patched(tree: Path, tmp_path: Path) -> None:
    written(tree / "cpu/f.cc", "one\ntwo\nthree\n")
    written(tree / "cpu/g.cc", "something else\n")
    second = PATCH.partition("\n\n")[2].replace("f.cc", "g.cc")
    with pytest.raises(LabError, match=r"a\.patch does not apply to cpu/g\.cc"):
        patching.apply(tree, [written(tmp_path / "a.patch", PATCH + second)])


@pytest.mark.parametrize("patch", patching.series(), ids=lambda patch: patch.stem)
def test_each_patch_has_a_header(patch: Path) -> None:
    header, _, diff = patch.read_text("latin-1").partition("\n--- a/")
    assert diff
    subject, *text, reference = header.strip().split("\n\n")
    assert re.fullmatch(r"Subject: [A-Z].{9,70}", subject)
    assert all(len(paragraph) > 80 for paragraph in text)
    assert text
    assert reference.startswith("Reference: ")
    assert any(known in reference for known in ("Intel SDM vol.", "Linux ", "Bochs 3.0 "))


def test_the_patches_apply_to_a_tree_of_their_context_and_not_twice(tree: Path) -> None:
    lines: dict[str, dict[int, str]] = {}
    for patch in patching.series():
        for file, first, marked in hunks(patch):
            before = [line[1:] for line in marked if line[0] != "+"]
            lines.setdefault(file, {}).update(enumerate(before, first))
    for file, numbered in lines.items():
        # The lines between the hunks are numbers, so that no hunk fits anywhere else.
        text = "".join(f"{numbered.get(n, n)}\n" for n in range(1, max(numbered) + 1))
        written(tree / file, text)
    patching.apply(tree, patching.series())
    for patch in patching.series():
        for file, _, marked in hunks(patch):
            after = "".join(f"{line[1:]}\n" for line in marked if line[0] != "-")
            assert after in (tree / file).read_text("latin-1")
    with pytest.raises(LabError, match=f"{patching.series()[0].name} does not apply"):
        patching.apply(tree, patching.series())
