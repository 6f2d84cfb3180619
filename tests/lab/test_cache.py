"""The cache: keys, complete artefacts only, one builder at a time."""

import threading
from pathlib import Path
from typing import Any

import pytest

from lab import cache
from lab.failures import LabError
from lab.progress import Progress

QUIET = Progress(quiet=True)


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLDTRACE_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.folder() == Path("/own/lab")
    monkeypatch.delenv("SLDTRACE_CACHE")
    assert cache.folder() == Path("/xdg/sldtrace/lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert cache.folder() == Path("/home/user/.cache/sldtrace/lab")


def test_a_key_changes_with_any_input_and_not_with_their_order() -> None:
    base = {"a": 1, "b": ["x", "y"]}
    assert cache.key(base) == cache.key({"b": ["x", "y"], "a": 1})
    assert len({cache.key(base), cache.key({**base, "a": 2}), cache.key({**base, "b": ["y", "x"]})}) == 3


@pytest.mark.usefixtures("own_cache")
def test_an_artefact_is_built_once_and_says_what_it_was_made_from() -> None:
    built = []

    def build(into: Path) -> dict[str, Any]:
        built.append(into)
        (into / "data").write_text("x")
        return {"version": "1"}

    first = cache.ensure("thing", {"n": 1}, build, QUIET)
    assert cache.ensure("thing", {"n": 1}, build, QUIET) == first
    assert len(built) == 1
    assert (first / "data").read_text() == "x"
    assert cache.info(first) == {"inputs": {"n": 1}, "version": "1"}
    assert cache.ensure("thing", {"n": 2}, build, QUIET) != first


def test_a_build_that_fails_leaves_nothing(own_cache: Path) -> None:
    def build(into: Path) -> dict[str, Any]:
        (into / "half").write_text("x")
        raise LabError("broken")

    with pytest.raises(LabError, match="broken"):
        cache.ensure("thing", {}, build, QUIET)
    assert list((own_cache / "thing").iterdir()) == []
    assert cache.find("thing", {}) is None


def test_leftovers_of_a_killed_build_are_taken_away(own_cache: Path) -> None:
    name = cache.key({})
    killed = own_cache / "thing" / f"{name}.killed"
    halfway = own_cache / "thing" / name
    for folder in (killed, halfway):
        folder.mkdir(parents=True)
        (folder / "half").write_text("x")
    built = cache.ensure("thing", {}, lambda into: {}, QUIET)
    assert built == halfway
    assert not killed.exists()
    assert sorted(path.name for path in built.iterdir()) == [cache.INFO]


@pytest.mark.usefixtures("own_cache")
def test_builders_at_the_same_time_build_once() -> None:
    built: list[Path] = []
    barrier = threading.Barrier(4)

    def build(into: Path) -> dict[str, Any]:
        built.append(into)
        return {}

    def ask() -> None:
        barrier.wait()
        cache.ensure("thing", {}, build, QUIET)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_full_disk_is_one_line(own_cache: Path) -> None:
    def build(into: Path) -> dict[str, Any]:
        raise OSError(28, "No space left on device", str(into))

    with pytest.raises(LabError, match="building thing failed: No space left on device"):
        cache.ensure("thing", {}, build, QUIET)
