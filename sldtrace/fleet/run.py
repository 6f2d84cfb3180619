"""Makes the summary of a fleet: hosts are summed up in parallel, and their summaries merged.

On one machine by processes, or by Dask where there is a scheduler: then the workers merge, too, in a tree, so
that this process gets one summary whatever the number of hosts.
"""

import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sldtrace.errors import SldtraceError
from sldtrace.fleet import hosts, sources
from sldtrace.fleet.summary import Merger, Summary, merge_all
from sldtrace.recording.collect import Unreadable
from sldtrace.recording.identity import Identity
from sldtrace.recording.redacted import KeyedRedactor
from sldtrace.text.escape import escape

_log = logging.getLogger(__name__)

_BATCH = 32
"""Files that are identified at a time."""

FAN_IN = 8
"""Summaries that a worker merges at a time."""

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int], None]
Identified = list[tuple[str, Identity | Unreadable]]


@dataclass(frozen=True)
class Work:
    """One host: its name, not escaped, and its files; key: of a KeyedRedactor, None: nothing is replaced."""

    name: str
    files: tuple[str, ...]
    key: bytes | None = None


class Executor(Protocol):
    """Where the work is done."""

    def identify(self, batches: Sequence[Sequence[str]]) -> Iterator[Identified]:
        """identify_files of each batch, in any order."""

    def summarize(self, work: Sequence[Work], on_host: Progress) -> Summary:
        """The summaries of all hosts, merged; on_host: called with the number of hosts that are done."""


def summarize(
    listing: sources.Listing,
    executor: Executor,
    on_stage: Callable[[str, int], None],
    on_done: Progress,
    key: bytes | None = None,
) -> Summary:
    """The summary of all recordings in the listing; key: as in `Work`.

    on_stage: called when the files are read first, and when the hosts are, with `files` or `hosts` and their
    number; on_done: called with how many more of these are done.
    """
    on_stage("files", len(listing.files))
    batches = [listing.files[start : start + _BATCH] for start in range(0, len(listing.files), _BATCH)]
    known: dict[str, Identity] = {}
    unreadable = list(listing.unreadable)
    for batch in executor.identify(batches):
        on_done(len(batch))
        for file, found in batch:
            if isinstance(found, Unreadable):
                unreadable.append(found)
            else:
                known[file] = found
    work = plan(known, key)
    on_stage("hosts", len(work))
    return executor.summarize(work, on_done).merge(_failed(unreadable, key))


def plan(known: "dict[str, Identity]", key: bytes | None = None) -> list[Work]:
    """The files by host. Where the name is missing, as in simulated ones, each recording is a host.

    Such a host has the name of its first file; copies of a recording are files of one host.
    """
    by_host: dict[tuple[str, str], list[str]] = {}
    for file, identity in sorted(known.items()):
        by_host.setdefault((identity.host, "") if identity.host else identity.boot_key, []).append(file)
    work = [Work(host or files[0], tuple(files), key) for (host, _), files in by_host.items()]
    return sorted(work, key=lambda each: each.name)


def identify_files(files: Sequence[str]) -> Identified:
    """The identity of each file."""
    return [(file, sources.identify(file)) for file in files]


def summarize_host(work: Work) -> Summary:
    """The summary of one host. What fails, fails for this host only: its files are then unreadable."""
    try:
        with sources.opened(work.files) as collection:
            if work.key is None:
                return hosts.summarize(work.name, collection)
            redactor = KeyedRedactor(work.key)
            return hosts.summarize(redactor.name("host", work.name), redactor.collection(collection))
    except Exception as error:
        _log.debug("traceback of this error", exc_info=True)
        line = " ".join(str(error).split())
        reason = f"sldtrace failed: {type(error).__name__}: {escape(line)}"
        failed = [Unreadable(file, f"cannot read {escape(file, 4096)}: {reason}") for file in work.files]
        return _failed(failed, work.key)


def _failed(unreadable: Sequence[Unreadable], key: bytes | None) -> Summary:
    return hosts.failed(unreadable if key is None else KeyedRedactor(key).unreadable(unreadable))


class Here:
    """In this process: for one worker."""

    def identify(self, batches: Sequence[Sequence[str]]) -> Iterator[Identified]:
        """See Executor."""
        return map(identify_files, batches)

    def summarize(self, work: Sequence[Work], on_host: Progress) -> Summary:
        """See Executor."""
        merger = Merger()
        for each in work:
            merger.add(summarize_host(each))
            on_host(1)
        return merger.merged()


class Processes:
    """In several processes on this machine."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def identify(self, batches: Sequence[Sequence[str]]) -> Iterator[Identified]:
        """See Executor."""
        return self._run(identify_files, batches)

    def summarize(self, work: Sequence[Work], on_host: Progress) -> Summary:
        """See Executor."""
        merger = Merger()
        for each in self._run(summarize_host, work):
            merger.add(each)
            on_host(1)
        return merger.merged()

    def _run(self, function: Callable[[T], R], given: Sequence[T]) -> Iterator[R]:
        try:
            futures = {self._pool.submit(function, each) for each in given}
            while futures:
                done = next(as_completed(futures))
                futures.remove(done)  # with its result, which the merged one replaces
                yield done.result()
        except BrokenProcessPool as error:
            raise SldtraceError(
                "a worker process ended before its work was done", "it may need memory: try --jobs 1"
            ) from error


class Dask:
    """On the workers of a Dask cluster, which must be able to read the files and to import sldtrace.

    A worker that is lost loses nothing: Dask computes again what it had.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def identify(self, batches: Sequence[Sequence[str]]) -> Iterator[Identified]:
        """See Executor."""
        from distributed import as_completed as completed

        futures = self._client.map(identify_files, batches, pure=False)
        for future in completed(futures, loop=self._client.loop):
            yield future.result()

    def summarize(self, work: Sequence[Work], on_host: Progress) -> Summary:
        """See Executor."""
        from distributed import as_completed as completed

        if not work:
            return Summary()
        futures = self._client.map(summarize_host, work, pure=False)
        level = list(futures)
        while len(level) > 1:
            groups = [level[start : start + FAN_IN] for start in range(0, len(level), FAN_IN)]
            level = [self._client.submit(merge_all, group, pure=False) for group in groups]
        for future in completed(futures, loop=self._client.loop):
            if future.status == "error":
                future.result()
            on_host(1)
        del futures
        summary: Summary = level[0].result()
        return summary


@contextmanager
def local(jobs: int) -> Iterator[Executor]:
    """An executor for that many processes."""
    if jobs == 1:
        yield Here()
        return
    # Not by fork: clients of object stores have threads.
    context = multiprocessing.get_context("spawn")
    # Ctrl-C is for this process, which then ends them.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(jobs, context, signal.signal, ignore) as pool:
        try:
            yield Processes(pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """An executor for the scheduler at that address (tcp://HOST:PORT); raises SldtraceError."""
    try:
        from distributed import Client
    except ImportError as error:
        raise SldtraceError(
            "--scheduler needs dask.distributed, which is not installed", "pip install 'sldtrace[dask]'"
        ) from error
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise SldtraceError(
            f"there is no Dask scheduler at {escape(address)}", "start one with: dask scheduler"
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            where = escape(address)
            raise SldtraceError(f"the scheduler at {where} has no workers", f"dask worker {where}")
        yield Dask(client)
