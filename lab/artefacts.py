"""Builds what a machine needs, in parallel."""

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import emulator, hosttools, kernel_files, rootfs
from lab.kernel_files import KernelFiles
from lab.packages import Archive, PackageRemoved
from lab.progress import Progress

# Seconds between two reports of what is still being built.
_REPORT = 1.0


@dataclass(frozen=True)
class Lab:
    """What a machine is made from: folders in the cache. Keys: names of rootfs.ROOTS and kernel.KERNELS."""

    emulator: Path
    roots: dict[str, Path]
    kernels: dict[str, KernelFiles]


def ensure(
    names: Sequence[str], progress: Progress, update: bool = False, roots: Sequence[str] = (rootfs.DEFAULT,)
) -> Lab:
    """Builds what is missing for these kernels and root file systems.

    A full cache needs no network; `update` looks for newer packages. Raises LabError.
    """
    try:
        return _ensure(names, roots, progress, Archive(progress, update))
    except PackageRemoved as removed:
        progress.stage(f"{removed.message}: looking for newer packages")
        return _ensure(names, roots, progress, Archive(progress, update=True))


def _ensure(names: Sequence[str], roots: Sequence[str], progress: Progress, archive: Archive) -> Lab:
    pool = ThreadPoolExecutor(max_workers=3)
    try:
        engine = pool.submit(emulator.ensure, archive, progress)
        trees = {name: pool.submit(rootfs.ensure, archive, name, progress) for name in roots}
        kernels = {name: pool.submit(kernel_files.ensure, archive, name, progress) for name in names}
        futures: dict[Future[Any], str] = {
            engine: "the emulator",
            **{future: f"root file system {name}" for name, future in trees.items()},
            **{future: f"kernel {name}" for name, future in kernels.items()},
        }
        _wait(futures, progress)
        return Lab(
            engine.result(),
            {name: future.result() for name, future in trees.items()},
            {name: future.result() for name, future in kernels.items()},
        )
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        hosttools.end_all()
        raise
    finally:
        pool.shutdown()


def _wait(futures: Mapping[Future[Any], str], progress: Progress) -> None:
    """Waits until all are done, or raises what made the first of them fail."""
    pending: set[Future[Any]] = set(futures)
    while pending:
        done, pending = wait(pending, _REPORT, FIRST_EXCEPTION)
        for future in done:
            future.result()
        if pending:
            names = [name for future, name in futures.items() if future in pending]
            progress.live(f"building {', '.join(names)}")
    progress.clear()
