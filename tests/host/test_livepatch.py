"""Live patches of functions that sldtrace watches, from a fake /sys."""

from pathlib import Path

from sldtrace.host import livepatch


def patched(sys: Path, *functions: str) -> Path:
    """A /sys in which these are replaced: "PATCH/OBJECT/FUNCTION,NUMBER"."""
    for each in functions:
        (sys / "kernel/livepatch" / each).mkdir(parents=True)
    return sys


def test_functions_that_are_watched_are_found_with_the_patches(tmp_path: Path) -> None:
    patched(
        tmp_path,
        "kpatch_2/vmlinux/split_lock_warn,1",
        "kpatch_1/vmlinux/split_lock_warn,1",
        "kpatch_1/vmlinux/msleep_interruptible,1",
        "kpatch_1/vmlinux/do_exit,1",
        "kpatch_3/some_module/split_lock_warn,1",
    )
    (tmp_path / "kernel/livepatch/kpatch_1/enabled").write_text("1\n")
    assert livepatch.replaced(tmp_path) == {
        "split_lock_warn": ["kpatch_1", "kpatch_2"],
        "msleep_interruptible": ["kpatch_1"],
    }


def test_no_live_patch_or_a_kernel_without(tmp_path: Path) -> None:
    assert livepatch.replaced(tmp_path) == {}
    (tmp_path / "kernel/livepatch").mkdir(parents=True)
    assert livepatch.replaced(tmp_path) == {}


def test_in_words() -> None:
    assert livepatch.sentence({}) == ""
    assert livepatch.sentence({"a": ["p"]}) == "a is replaced by a live patch (p)"
    assert livepatch.sentence({"b": ["q", "p"], "a": ["p"]}) == "a, b are replaced by a live patch (p, q)"
