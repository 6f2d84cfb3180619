"""Where recordings of a fleet are: local paths, and URLs of object stores, by fsspec, which is optional."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from sldtrace.errors import SldtraceError
from sldtrace.recording import collect, reader
from sldtrace.recording.collect import SUFFIX, Collection, Unreadable
from sldtrace.recording.identity import Identity, peek
from sldtrace.text.escape import escape


@dataclass(frozen=True)
class Listing:
    """What is at some places: local paths and URLs, each once; others: files that are no recordings."""

    files: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    others: int


def is_url(place: str) -> bool:
    """Is it a URL (s3://BUCKET/PREFIX), and not a path?"""
    return "://" in place


def find(places: Sequence[str]) -> Listing:
    """The recordings at these places, with all subdirectories.

    Of local files as sldtrace.recording.collect.find; of a URL those whose name ends in SUFFIX, or that one
    object. Raises SldtraceError where fsspec, or what it needs for that URL, is missing.
    """
    local = collect.find([Path(place) for place in places if not is_url(place)], recursive=True)
    files = [str(path) for path in local.files]
    unreadable, others = list(local.unreadable), local.others
    for url in filter(is_url, places):
        system = _system(url)
        try:
            found = _listed(system, url)
        except Exception as error:
            unreadable.append(_unreadable(url, error))
            continue
        files += [each for each in found if each.endswith(SUFFIX) or each == url]
        others += sum(not (each.endswith(SUFFIX) or each == url) for each in found)
    return Listing(tuple(dict.fromkeys(files)), tuple(unreadable), others)


def identify(place: str) -> Identity | Unreadable:
    """Which host and boot a recording is of, from its beginning where that is enough."""
    try:
        with _open(place) as file:
            found = peek(file)
    except SldtraceError as error:
        return Unreadable(place, str(error))
    except Exception as error:
        return _unreadable(place, error)
    if found is not None:
        return found
    with _local([place]) as (paths, unreadable):
        if unreadable:
            return unreadable[0]
        try:
            with reader.open_recording(next(iter(paths))) as recording:
                return recording.identity
        except SldtraceError as error:
            return _renamed(Unreadable(str(next(iter(paths))), str(error)), paths)


@contextmanager
def opened(places: Sequence[str]) -> Iterator[Collection]:
    """The recordings at these places, open; objects of a store are copied to TMPDIR for that time."""
    with _local(places) as (paths, unreadable), collect.open_all(list(paths)) as collection:
        failed = [_renamed(each, paths) for each in collection.unreadable]
        yield replace(collection, unreadable=(*unreadable, *failed))


# Local paths, each with the place that it was named by or copied from, and what could not be copied.
@contextmanager
def _local(places: Sequence[str]) -> Iterator[tuple[dict[Path, str], list[Unreadable]]]:
    unreadable: list[Unreadable] = []
    with TemporaryDirectory(prefix="sldtrace-") as folder:
        paths: dict[Path, str] = {}
        for number, place in enumerate(places):
            if not is_url(place):
                paths[Path(place)] = place
                continue
            # A folder each: names of objects in two prefixes may be the same.
            target = Path(folder) / str(number) / place.rpartition("/")[2]
            target.parent.mkdir()
            try:
                with _open(place) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
            except Exception as error:
                unreadable.append(_unreadable(place, error))
                continue
            paths[target] = place
        yield paths, unreadable


def _renamed(each: Unreadable, paths: dict[Path, str]) -> Unreadable:
    place = paths[Path(each.path)]
    return Unreadable(place, each.reason.replace(escape(each.path, 4096), escape(place, 4096)))


@contextmanager
def _open(place: str) -> Iterator[BinaryIO]:
    if not is_url(place):
        # The reader's own checks: a pipe would block.
        if not Path(place).is_file():
            reader.open_recording(place).close()
        with open(place, "rb") as file:
            yield file
        return
    with _system(place).open(place, "rb") as remote:
        yield remote


def _system(url: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise SldtraceError(
            f"{escape(url, 400)} needs fsspec, which is not installed", "pip install 'sldtrace[fleet]'"
        ) from error
    try:
        return fsspec.core.url_to_fs(url)[0]
    except ImportError as error:
        raise SldtraceError(f"{escape(url, 400)} needs a package: {escape(str(error))}") from error
    except ValueError as error:
        raise SldtraceError(f"{escape(url, 400)} is no place of recordings: {escape(str(error))}") from error


def _listed(system: Any, url: str) -> list[str]:
    scheme = url.partition("://")[0]
    if system.isfile(url):
        return [url]
    found = [f"{scheme}://{each.removeprefix(f'{scheme}://')}" for each in sorted(system.find(url))]
    if not found:
        raise FileNotFoundError(2, "there is nothing")
    return found


# Stores raise errors of many types.
def _unreadable(place: str, error: Exception) -> Unreadable:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = " ".join(str(reason).split())
    return Unreadable(place, f"cannot read {escape(place, 4096)}: {escape(line, 400)}")
