"""Several recordings of one boot of one host, read as one: the files of --rotate, and those of restarts.

Times are CLOCK_MONOTONIC, so records of several files have one order. Where no file has recorded, detection
was not watched: the first trap of each thread after such a gap loses the flags that say what was watched
since the thread's last trap, and the level of detail is `traps` during the gap. So no chain of early returns,
and no time in which VM exits were watched, extends over a gap of a penalty or more.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.recording import describe
from sldtrace.recording import schema as schemas
from sldtrace.recording.discarded import Discarded, is_count
from sldtrace.recording.layout import Records, Schema
from sldtrace.recording.reader import Recording
from sldtrace.recording.timeline import Gap, Loss, Part
from sldtrace.recording.upgrade import Upgrade
from sldtrace.text.escape import escape
from sldtrace.text.phrases import length

_REPEATED = ("task", "detail")
"""Kinds of which a file of --rotate repeats records of the files before it. They are few: all in memory."""

_FIRST_ONLY = ("clock", "split_lock", "segment")
"""Facts of the first file: they begin the timeline, or are what held at its start."""

_BATCH = 1 << 18  # records that are read at a time


class JoinedRecording:
    """A `timeline.Timeline` of several files, at least one; `close` closes all of them.

    recordings: of one boot, in order of time, those of one recording with rising numbers.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = tuple(recordings)
        self.path: Path = recordings[0].path
        names = [each.path.name for each in recordings]
        unique = len(set(names)) == len(names)
        self._names = names if unique else [str(each.path) for each in recordings]
        self._runs = _by_run(recordings)
        self._dtypes: dict[str, np.dtype[np.void]] = {}
        self.schema: Schema = max((each.schema for each in recordings), key=lambda one: one.version)
        self.size: int = sum(each.size for each in recordings)
        self.closed: bool = all(each.closed for each in recordings)

    def close(self) -> None:
        """Closes the files; records can no longer be read."""
        for each in self.recordings:
            each.close()

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The files."""
        found = [each.parts[0] for each in self.recordings]
        return tuple(
            Part(name, one.start_ns, one.end_ns, one.traps)
            for name, one in zip(self._names, found, strict=True)
        )

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """The times between the files in which nothing was recorded."""
        return tuple(gap for gap in self._gap_before if gap is not None)

    @cached_property
    def _gap_before(self) -> list[Gap | None]:
        found: list[Gap | None] = [None]
        for (one, before), (other, after) in pairwise(zip(self.recordings, self.parts, strict=True)):
            missing = 0
            first, second = one.identity.number, other.identity.number
            if one.identity.run == other.identity.run and first is not None and second is not None:
                missing = max(0, second - first - 1)
            # The recorder starts a file before it ends the one before.
            silent = after.start_ns > before.end_ns
            gap = Gap(before.end_ns, after.start_ns, before.name, after.name, missing) if silent else None
            found.append(gap)
        return found

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The opening facts of the first file."""
        facts = dict(self.recordings[0].facts)
        if "segment" in facts:
            facts["segment"] = {"number": self.recordings[0].identity.number}
        return facts

    @cached_property
    def updates(self) -> Sequence[Mapping[str, Any]]:
        """Facts that were added since: those of the files, and their clocks as `clock_steps`.

        Of `filters`, those of the first recording that has any: then only a part of the host was recorded.
        """
        first, *others = self.recordings
        found: list[Mapping[str, Any]] = [*first.updates]
        filters = next((each.facts["filters"] for each in self.recordings if _filtered(each)), None)
        for before, each in zip(self.recordings, others, strict=False):
            clocks = dict(filter(None, (_clock(before.closing or {}), _clock(each.facts))))
            facts = {name: value for name, value in each.facts.items() if name not in _FIRST_ONLY}
            steps = facts.get("clock_steps")
            facts["clock_steps"] = (steps if isinstance(steps, dict) else {}) | clocks
            found += [facts, *each.updates]
        return [*found, {"filters": filters}] if filters is not None else found

    @cached_property
    def closing(self) -> Mapping[str, Any] | None:
        """The closing facts of the last file, with sums over the recordings; None if it has no end.

        seen: of traps only, without those of files before the first one; it is missing where one of the
        recordings has no end.
        """
        last = self.recordings[-1].closing
        if last is None:
            return None
        ends = [run[-1].closing or {} for run in self._runs]
        closing = dict(last)
        seen = [_traps_seen(run) for run in self._runs]
        closing.pop("seen", None)
        if None not in seen:
            closing["seen"] = {"trap": sum(filter(None, seen))}
        for name in ("unfinished", "filtered", "skipped"):
            if any(name in end for end in ends):
                closing[name] = _sums(end.get(name) for end in ends)
        if len(ends) > 1 and "cost" in closing:
            closing["cost"] = _cost([end.get("cost") for end in ends])
        return closing

    @cached_property
    def discarded(self) -> Discarded | None:
        """The sum of what --keep has discarded of the files."""
        found = [each.discarded for each in self.recordings if each.discarded is not None]
        if not found:
            return None
        first = self.recordings[0].discarded
        records = _sums(each.records for each in found)
        # Discarded before a later file: that is in the gap before it.
        return Discarded(
            below=found[0].below,
            records=records,
            first_ns=found[0].first_ns,
            last_ns=first.last_ns if first else 0,
            limit_ns=found[0].limit_ns,
            limit_bytes=found[0].limit_bytes,
        )

    @property
    def damaged(self) -> bool:
        """Whether a part of a file could not be read; `warnings` names it."""
        return any(each.damaged for each in self.recordings)

    @property
    def warnings(self) -> list[str]:
        """One line for each gap, and for each thing that is damaged, missing or unknown, with its file."""
        found = [_gap_warning(gap) for gap in self.gaps]
        for name, each in zip(self._names, self.recordings, strict=True):
            found += [f"{escape(name, 4096)}: {warning}" for warning in each.warnings]
        first = self.recordings[0]
        for name, each in zip(self._names, self.recordings, strict=True):
            if any(each.facts.get(option) != first.facts.get(option) for option in ("filters", "exits")):
                found.append(f"{escape(name, 4096)} was recorded with other options (filters, --exits)")
        return found

    @property
    def counts(self) -> Mapping[str, int]:
        """How many records of each kind can be read; repeated ones count once."""
        counts = _sums(each.counts for each in self.recordings)
        return counts | {kind: len(self.records(kind)) for kind in _REPEATED if kind in counts}

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """The smallest and the largest time of a record; None without records."""
        spans = [each.span_ns for each in self.recordings]
        known = [span for span in spans if span is not None]
        return (min(first for first, _ in known), max(last for _, last in known)) if known else None

    @cached_property
    def losses(self) -> list[Loss]:
        """Sums of the lost records of all files."""
        sums: dict[tuple[str, str, int], int] = {}
        for each in self.recordings:
            for loss in each.losses:
                key = loss.kind, loss.cause, loss.cpu
                sums[key] = sums.get(key, 0) + loss.count
        return [Loss(*key, count) for key, count in sums.items()]

    def upgrade(self, kind: str) -> Upgrade:
        """As Recording.upgrade, of the first file that has the kind."""
        having = [each for each in self.recordings if kind in each.schema.records]
        return (having or self.recordings)[0].upgrade(kind)

    def batches(self, kind: str, most: int) -> Iterator[Records]:
        """As Recording.batches, file after file; all have one type."""
        if kind in _REPEATED:
            found = self.records(kind)
            yield from (found[start : start + most] for start in range(0, len(found), most))
            return
        mark = _Unwatched() if kind == "trap" else None
        for each, gap in zip(self.recordings, self._gap_before, strict=True):
            if gap is not None and mark is not None:
                mark.reset()
            for records in self._batches(each, kind, most):
                yield mark.apply(records) if mark is not None else records

    def records(self, kind: str) -> Records:
        """As Recording.records."""
        if kind in _REPEATED:
            return self._repeated[kind]
        every = [records.copy() for records in self.batches(kind, _BATCH)]
        return _in_order(np.concatenate(every)) if every else np.empty(0, self._dtype(kind))

    def chunks(
        self, kind: str | None = None, times: npt.NDArray[np.uint64] | None = None
    ) -> Iterator[tuple[str, Records]]:
        """As Recording.chunks, file after file; all of a kind have one type. Repeated records are repeated.

        Where there are gaps, `times` leaves out no chunk of traps: only all of them show which is the first
        trap of its thread after a gap.
        """
        times = None if self.gaps and kind in (None, "trap") else times
        unwatched = _Unwatched()
        for each, gap in zip(self.recordings, self._gap_before, strict=True):
            if gap is not None:
                unwatched.reset()
            for name, records in each.chunks(kind, times):
                yield name, self._in_form(name, records, unwatched)

    def timed_chunks(self, kinds: Collection[str]) -> Iterator[tuple[str, Records, int | None]]:
        """As Recording.timed_chunks, file after file. Not of kinds that files repeat (ValueError)."""
        if not set(kinds).isdisjoint(_REPEATED):
            raise ValueError(f"files repeat records of {' and '.join(_REPEATED)}")
        unwatched = _Unwatched()
        for number, (each, gap) in enumerate(zip(self.recordings, self._gap_before, strict=True)):
            if gap is not None:
                unwatched.reset()
            # Not span_ns: repeated records of a file are of times before it.
            later = [at for one in self.recordings[number + 1 :] if (at := one.first_ns(kinds)) is not None]
            for kind, records, following in each.timed_chunks(kinds):
                still = [*later, *([] if following is None else [following])]
                yield kind, self._in_form(kind, records, unwatched), min(still, default=None)

    def _in_form(self, kind: str, records: Records, unwatched: "_Unwatched") -> Records:
        dtype = self._dtypes.get(kind)
        if dtype is None:
            dtype = self._dtypes[kind] = self._dtype(kind)
        if records.dtype != dtype:
            records = _converted(records, dtype)
        return unwatched.apply(records) if kind == "trap" else records

    def _batches(self, recording: Recording, kind: str, most: int) -> Iterator[Records]:
        if kind not in recording.schema.records and kind not in schemas.current().records:
            return
        dtype = self._dtype(kind)
        for records in recording.batches(kind, most):
            yield records if records.dtype == dtype else _converted(records, dtype)

    # That of the files where they agree. Otherwise the fields of this version.
    def _dtype(self, kind: str) -> np.dtype[np.void]:
        current = schemas.current().records.get(kind)
        found = [each.upgrade(kind).dtype for each in self.recordings if kind in each.schema.records]
        if current is None or (found and all(each == found[0] for each in found)):
            return found[0] if found else self.upgrade(kind).dtype
        return current.dtype

    @cached_property
    def _repeated(self) -> dict[str, Records]:
        return {"task": self._distinct("task", self._tasks), "detail": self._distinct("detail", self._levels)}

    def _distinct(self, kind: str, parts: Callable[[], Iterable[Records]]) -> Records:
        every = [np.empty(0, self._dtype(kind)), *parts()]
        records = _in_order(np.concatenate(every))
        _, first = np.unique(records, return_index=True)
        return records[np.sort(first)]

    def _tasks(self) -> Iterator[Records]:
        for each in self.recordings:
            for records in self._batches(each, "task", _BATCH):
                yield records.copy()

    # With the level of detail during the gaps, which is the lowest: nothing was watched.
    def _levels(self) -> Iterator[Records]:
        enums = schemas.current().enums
        level, reason = enums["level"].values["TRAPS"], enums["reason"].values["START"]
        since = 0  # the end of the last gap: a level that a file repeats from before it holds from there on
        for each, gap in zip(self.recordings, self._gap_before, strict=True):
            if gap is not None:
                since = gap.end_ns
                marker = np.zeros(1, self._dtype("detail"))
                marker["ns"], marker["level"], marker["previous"] = gap.start_ns, level, level
                marker["reason"] = reason
                yield marker
            for records in self._batches(each, "detail", _BATCH):
                found = records.copy()
                found["ns"] = np.maximum(found["ns"], np.uint64(since))
                yield found


class _Unwatched:
    # Clears the flags about what was watched in the first trap of each thread since the last `reset`.
    def __init__(self) -> None:
        self._seen: np.ndarray[Any, np.dtype[np.uint32]] | None = None
        flags = schemas.current().enums["trap_flags"].values
        self._keep = np.uint32(~(flags["MSR_WATCHED"] | flags["EXITS_WATCHED"]) & 0xFFFF_FFFF)

    def reset(self) -> None:
        self._seen = np.empty(0, np.uint32)

    def apply(self, records: Records) -> Records:
        if self._seen is None:
            return records
        tids, first = np.unique(records["tid"], return_index=True)
        new = ~np.isin(tids, self._seen)
        if not new.any():
            return records
        self._seen = np.union1d(self._seen, tids).astype(np.uint32)
        records = records.copy()
        records["flags"][first[new]] &= self._keep
        return records


def _by_run(recordings: Sequence[Recording]) -> list[list[Recording]]:
    runs: dict[str, list[Recording]] = {}
    for each in recordings:
        runs.setdefault(each.identity.run, []).append(each)
    return list(runs.values())


# Traps that the probes have seen in these files of one recording, and in missing ones between them.
def _traps_seen(run: Sequence[Recording]) -> int | None:
    seen = (run[-1].closing or {}).get("seen")
    count = seen.get("trap") if isinstance(seen, dict) else None
    if count is None or not is_count(count):
        return None
    segment = run[0].facts.get("segment")
    before = segment.get("before") if isinstance(segment, dict) else None
    earlier = before.get("trap") if isinstance(before, dict) else None
    return int(count) - (int(earlier) if earlier is not None and is_count(earlier) else 0)


def _sums(groups: Iterable[Any]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for group in groups:
        for name, count in group.items() if isinstance(group, Mapping) else ():
            if is_count(count):
                sums[name] = sums.get(name, 0) + count
    return sums


def _cost(costs: Sequence[Any]) -> Any:
    if not all(isinstance(each, dict) for each in costs):
        return None
    names = ("elapsed_ns", "recorder_cpu_ns", "measured_ns", "probes_ns")
    found = {
        name: sum(each[name] for each in costs) if all(is_count(each.get(name)) for each in costs) else None
        for name in names
    }
    memory = [each.get("memory_bytes") for each in costs]
    return found | {"memory_bytes": max(memory) if all(map(is_count, memory)) else None}


def _filtered(recording: Recording) -> bool:
    filters = recording.facts.get("filters")
    return isinstance(filters, dict) and any(value not in (None, [], {}, "") for value in filters.values())


def _clock(facts: Mapping[str, Any]) -> tuple[str, Any] | None:
    clock = facts.get("clock")
    if not isinstance(clock, dict) or "monotonic_ns" not in clock or "realtime_ns" not in clock:
        return None
    return str(clock["monotonic_ns"]), clock["realtime_ns"]


def _gap_warning(gap: Gap) -> str:
    missing = f": {describe.count(gap.missing, 'file')} missing" if gap.missing else ""
    lasted = length(gap.end_ns - gap.start_ns)
    before, after = escape(gap.before, 4096), escape(gap.after, 4096)
    return f"{lasted} between {before} and {after} were not recorded{missing}"


def _converted(records: Records, dtype: np.dtype[np.void]) -> Records:
    found = np.zeros(len(records), dtype)
    for name in dtype.names or ():
        if name in (records.dtype.names or ()):
            found[name] = records[name]
    return found


def _in_order(records: Records) -> Records:
    times = records[(records.dtype.names or ("",))[0]]
    return records[np.argsort(times, kind="stable")]
