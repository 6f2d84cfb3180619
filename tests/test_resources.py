"""Where the files that are not Python lie, in the tree and when installed."""

from pathlib import Path

import pytest

from sldtrace import resources
from sldtrace.errors import SldtraceError


def test_both_folders_are_found_in_the_tree() -> None:
    assert (resources.bpf() / "events.h").is_file()
    assert list(resources.bpf().glob("*.bpf.c"))
    assert (resources.guests() / "split-bts.S").is_file()


@pytest.mark.parametrize("installed", [True, False])
def test_inside_the_package_before_beside_it(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sldtrace"
    monkeypatch.setattr(resources, "_PACKAGE", package)
    for base in [tmp_path] + [package] * installed:
        (base / "bpf").mkdir(parents=True)
        (base / "bpf" / "events.h").write_text("")
    assert resources.bpf() == (package if installed else tmp_path) / "bpf"


def test_a_folder_of_that_name_without_our_files_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "sldtrace")
    (tmp_path / "bpf").mkdir()
    (tmp_path / "guests").mkdir()
    for find, name in ((resources.bpf, "bpf"), (resources.guests, "guests")):
        with pytest.raises(SldtraceError, match=f"the folder '{name}' of sldtrace is missing; install"):
            find()
