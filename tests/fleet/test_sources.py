"""Recordings at paths and URLs: what is found, whose it is, and what an object store can do wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from sldtrace.errors import SldtraceError
from sldtrace.fleet import sources
from sldtrace.recording.collect import Unreadable
from sldtrace.recording.identity import Identity
from tests.analyzers.synthetic import loop, write
from tests.fleet import fleets


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    """An object store in memory with two hosts, a broken object and another one."""
    system = fsspec.filesystem("memory")
    for number in (0, 1):
        system.pipe(f"/fleet/h{number}/a.sld", fleets.host(tmp_path / "a.sld", number).read_bytes())
    system.pipe("/fleet/h1/broken.sld", b"no recording")
    system.pipe("/fleet/readme.txt", b"hello")
    yield system
    system.rm("/fleet", recursive=True)


URL = "memory://fleet"


def test_objects_are_listed_by_their_names(store: Any) -> None:
    found = sources.find([URL])
    files = ["h0/a.sld", "h1/a.sld", "h1/broken.sld"]
    assert found.files == tuple(f"memory:///fleet/{name}" for name in files)
    assert (found.others, found.unreadable) == (1, ())
    assert sources.find([URL, URL]).files == found.files
    # One object, whatever its name is.
    assert sources.find([f"{URL}/readme.txt"]).files == (f"{URL}/readme.txt",)


def test_paths_and_urls_together(store: Any, tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    path = fleets.host(tmp_path / "deep/er/a.sld", 5)
    found = sources.find([str(tmp_path / "deep"), URL])
    assert found.files[0] == str(path)
    assert len(found.files) == 4


def test_a_place_without_anything_is_named(store: Any) -> None:
    (missing,) = sources.find(["memory://nothing"]).unreadable
    assert missing.reason.startswith("cannot read memory://nothing: ")


def test_the_identity_of_an_object(store: Any, tmp_path: Path) -> None:
    found = sources.identify("memory://fleet/h1/a.sld")
    assert isinstance(found, Identity)
    assert found == sources.identify(str(fleets.host(tmp_path / "b.sld", 1)))
    broken = sources.identify("memory://fleet/h1/broken.sld")
    assert broken == Unreadable(
        "memory://fleet/h1/broken.sld",
        "memory://fleet/h1/broken.sld is not an sldtrace recording; name a file that `record` wrote",
    )


def test_a_damaged_beginning_is_no_obstacle(tmp_path: Path) -> None:
    path = fleets.host(tmp_path / "a.sld", 3)
    whole = sources.identify(str(path))
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes(100) + data[200:])
    assert sources.identify(str(path)) == whole


@pytest.mark.parametrize("name", ["none.sld", "folder.sld"])
def test_what_is_no_file_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.sld").mkdir()
    found = sources.identify(str(tmp_path / name))
    assert isinstance(found, Unreadable)
    assert name in found.reason


def test_objects_are_opened_from_copies_that_do_not_stay(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    urls = [f"{URL}/h0/a.sld", f"{URL}/h1/a.sld", f"{URL}/h1/broken.sld", f"{URL}/gone.sld"]
    with sources.opened(urls) as collection:
        assert [each.facts["host"]["name"] for each in collection.timelines] == ["host-0000", "host-0001"]
        assert [each.path for each in collection.unreadable] == [urls[3], urls[2]]
        assert all(str(tmp_path) not in each.reason for each in collection.unreadable)
        assert list(tmp_path.glob("sldtrace-*"))
    assert not list(tmp_path.glob("sldtrace-*"))


def test_without_fsspec_a_url_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(SldtraceError, match="needs fsspec") as caught:
        sources.find(["s3://bucket"])
    assert caught.value.hint == "pip install 'sldtrace[fleet]'"
    write(tmp_path / "a.sld", loop(3))
    assert len(sources.find([str(tmp_path)]).files) == 1


def test_a_store_that_is_not_installed_or_known_is_an_error() -> None:
    with pytest.raises(SldtraceError, match="nothing://x"):
        sources.find(["nothing://x"])
    with pytest.raises(SldtraceError, match=r"needs a package: .*gcsfs"):
        sources.find(["gs://bucket/x"])


def test_an_error_of_a_store_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Store:
        def isfile(self, url: str) -> bool:
            raise RuntimeError("a\nb\x1b[2J")

        def open(self, url: str, mode: str) -> None:
            raise RuntimeError("")

    monkeypatch.setattr(sources, "_system", lambda url: Store())
    (unreadable,) = sources.find(["s3://x\x1b"]).unreadable
    assert unreadable.reason == "cannot read s3://x\\x1b: a b\\x1b[2J"
    found = sources.identify("s3://x")
    assert isinstance(found, Unreadable)
    assert found.reason == "cannot read s3://x: RuntimeError"
