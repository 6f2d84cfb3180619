"""The cache of built artefacts: one folder per key, made in a temporary folder and renamed when complete."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.failures import LabError
from lab.progress import Progress

INFO = "info.json"


def folder() -> Path:
    """The lab's cache: $SLDTRACE_CACHE/lab, else $XDG_CACHE_HOME/sldtrace/lab, else ~/.cache/sldtrace/lab."""
    own = os.environ.get("SLDTRACE_CACHE")
    if own:
        return Path(own).absolute() / "lab"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache").absolute() / "sldtrace" / "lab"


def key(inputs: Any) -> str:
    """16 hex digits of SHA-256 over the inputs (anything that JSON can write), independent of key order."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def lock(name: str, progress: Progress | None = None) -> Iterator[None]:
    """Holds the named lock of this cache; other processes and threads wait. Released when the holder ends.

    A wait is announced on `progress`, if there is one.
    """
    locks = folder() / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        handle = (locks / name).open("w")
    except OSError as error:
        raise LabError(
            f"the cache {folder()} cannot be written: {error.strerror}", "set SLDTRACE_CACHE"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                progress.stage(f"waiting for another process that builds {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def find(kind: str, inputs: Any) -> Path | None:
    """The artefact's folder when it is complete, else None."""
    path = folder() / kind / key(inputs)
    return path if (path / INFO).is_file() else None


def ensure(kind: str, inputs: Any, build: Callable[[Path], dict[str, Any]], progress: Progress) -> Path:
    """The folder of the artefact, built first when it is not there.

    `build` fills an empty folder and returns what info.json holds besides the inputs. An
    interrupted build leaves only a temporary folder, which the next build of that kind removes.
    """
    found = find(kind, inputs)
    if found:
        return found
    final = folder() / kind / key(inputs)
    with lock(f"{kind}-{final.name}", progress):
        found = find(kind, inputs)
        if found:
            return found
        final.parent.mkdir(parents=True, exist_ok=True)
        for stale in final.parent.glob(f"{final.name}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{final.name}.", dir=final.parent))
        try:
            info = build(temporary)
            (temporary / INFO).write_text(json.dumps({"inputs": inputs, **info}, indent=1) + "\n")
            temporary.chmod(0o755)
            shutil.rmtree(final, ignore_errors=True)  # incomplete: it has no info.json
            temporary.rename(final)
        except OSError as error:
            raise LabError(f"building {kind} failed: {error.strerror}: {error.filename}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return final


def info(path: Path) -> dict[str, Any]:
    """The content of info.json of an artefact."""
    read: dict[str, Any] = json.loads((path / INFO).read_text())
    return read


def size(path: Path) -> int:
    """Bytes on disk of everything below a folder (holes of sparse files do not count)."""
    return sum(
        os.lstat(os.path.join(base, f)).st_blocks * 512 for base, _, files in os.walk(path) for f in files
    )
