"""A recording as the analyzers see it: typed frames, the facts of the host, and who is who."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone, tzinfo
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace import diagnostics
from sldtrace.dataset import exit_counts, frames, rows
from sldtrace.dataset.rows import Array, Labels, Rows
from sldtrace.dataset.subject import Subject
from sldtrace.dataset.symbols import Symbols
from sldtrace.errors import SldtraceError
from sldtrace.host.vms.names import KEYS, display_name
from sldtrace.host.vms.threads import vcpu_of
from sldtrace.lazy import pd
from sldtrace.model import early_returns
from sldtrace.recording import reader
from sldtrace.recording import schema as schemas
from sldtrace.recording.layout import Records
from sldtrace.recording.merging import merged
from sldtrace.recording.timeline import Timeline
from sldtrace.text import escape

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trace:
    """One recording, or those of one host joined, opened; equal to itself only.

    symbols: the functions of its guests, None if they are not known; zone: in which reports print its times,
    None for that of this machine.
    """

    recording: Timeline
    symbols: Symbols | None = None
    zone: tzinfo | None = timezone.utc

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The opening facts with what was added since, groups merged; see host.facts.read for the names."""
        return merged(self.recording.facts, self.recording.updates)

    @property
    def simulated(self) -> bool:
        """Was it made by `sldtrace simulate`? Every report must say so."""
        return bool(self.facts.get("simulated"))

    def number(self, *path: str) -> int | None:
        """A fact that is a number, by the names that lead to it; None where there is no such number.

        A file may hold anything: no type is assumed.
        """
        return _number(self.facts, path)

    def facts_say(self, *path: str) -> bool:
        """A fact that is true or false; False where there is no such fact."""
        return _look_up(self.facts, path) is True

    def text(self, *path: str, otherwise: str = "") -> str:
        """A fact that is a text (not escaped); `otherwise` where there is none."""
        found = _look_up(self.facts, path)
        return found if isinstance(found, str) else otherwise

    def closing(self, *path: str) -> int | None:
        """A number of the closing facts; None where it is missing, or the recording was not ended."""
        return _number(self.recording.closing, path)

    @property
    def probes(self) -> list[tuple[str, str]]:
        """Name and backend of each probe, not escaped; the backend is empty where it was not attached."""
        listed = [each for each in _list(self.facts.get("probes")) if isinstance(each, dict)]
        pairs = [(each.get("name"), each.get("backend")) for each in listed]
        return [(name, on) for name, on in pairs if isinstance(name, str) and isinstance(on, str)]

    @cached_property
    def span_ns(self) -> tuple[int, int]:
        """Begin and end of the records that are left (CLOCK_MONOTONIC): of recording, if none was discarded.

        From the records where the facts are missing.
        """
        first, last = self.recording.span_ns or (0, 0)
        start = self.number("clock", "monotonic_ns")
        start = first if start is None else start
        if self.recording.discarded is not None:
            start = max(start, self.recording.discarded.last_ns)
        end = self.closing("clock", "monotonic_ns")
        return start, max(last, start) if end is None else end

    def wall_ns(self, monotonic_ns: int) -> int | None:
        """Wall time (ns since 1970, UTC) of a CLOCK_MONOTONIC time; None where the facts are lost."""
        try:
            return int(frames.wall_ns(self.recording, np.array([monotonic_ns], np.int64))[0])
        except SldtraceError:
            return None

    def monotonic_ns(self, wall_ns: int) -> int | None:
        """The CLOCK_MONOTONIC time of a wall time (ns since 1970, UTC); None where the facts are lost."""
        found = self.span_ns[0]
        for _ in range(3):  # the clock may have been set or slewed since
            wall = self.wall_ns(found)
            if wall is None:
                return None
            found = max(found + wall_ns - wall, 0)
        return found

    def rows(self, kind: str) -> Rows:
        """All records of one kind in few bytes each, for analyzers: there may be millions.

        Columns: frames.described. Raises SldtraceError for an unknown kind.
        """
        if kind not in self._rows:
            labels = {"name": Labels()} if kind in _NAMED else {}
            derive = _COMPUTED.get(kind)
            self._rows[kind] = rows.read(
                self.recording, kind, partial(derive, labels) if derive else None, labels
            )
        return self._rows[kind]

    def rows_of(self, kind: str, records: Sequence[Records]) -> Rows:
        """These records of one kind, in any order, as `rows` has them all."""
        labels = {"name": Labels()} if kind in _NAMED else {}
        derive = _COMPUTED.get(kind)
        return rows.of_records(
            self.recording,
            kind,
            iter(records),
            sum(map(len, records)),
            partial(derive, labels) if derive else None,
            labels,
        )

    def select(self, kind: str, chosen: Callable[[Records], Array], times: Sequence[int] = ()) -> Rows:
        """The records of that kind for which `chosen` gives True, read again from the file.

        times: read only chunks that may have a record of one of these times (ns, signed as in columns).
        """
        wanted = np.sort(np.array(times, np.int64).view(np.uint64)) if times else None
        found = (records[chosen(records)] for _, records in self.recording.chunks(kind, wanted))
        return self.rows_of(kind, list(_gathered(found)))

    def evidence(
        self, kind: str, size: int, times: Sequence[int], chosen: Callable[[Records], Array]
    ) -> Rows:
        """The same as `select`, read when they are asked for.

        size: how many records there are; times: of the first and the last ones, which are read by themselves.
        """
        time = schemas.current().records[kind].time_field

        def shown(records: Records) -> Array:
            found: Array = chosen(records) & np.isin(records[time].astype(np.int64), times)
            return found

        return Rows.deferred(size, lambda: self.select(kind, chosen), lambda: self.select(kind, shown, times))

    @cached_property
    def _rows(self) -> dict[str, Rows]:
        return {}

    @cached_property
    def traps(self) -> pd.DataFrame:
        """One row a trap, by `start_ns`; columns: frames.described("trap")."""
        return self.rows("trap").frame()

    @cached_property
    def core(self) -> Callable[[int], int]:
        """Gives the core of a CPU, as the number of its first CPU: MSR_TEST_CTRL is one for all of them.

        What keeps this function does not keep the recording.
        """
        facts = self.facts

        def of_cpu(cpu: int) -> int:
            found = _number(facts, ("cpu", "cores", str(cpu)))
            return cpu if found is None else found

        return of_cpu

    @cached_property
    def detection(self) -> pd.DataFrame:
        """One row a write of MSR_TEST_CTRL; columns: frames.described("detection")."""
        return self.rows("detection").frame()

    @cached_property
    def exits(self) -> pd.DataFrame:
        """One row a VM exit that was recorded by itself; columns: frames.described("exit")."""
        return self.rows("exit").frame()

    @cached_property
    def exit_counts(self) -> pd.DataFrame:
        """One row for each thread and reason; columns: exit_counts.COLUMNS."""
        return exit_counts.summed(self.recording)

    @cached_property
    def user_exits(self) -> pd.DataFrame:
        """One row a return to the VMM; columns: frames.described("user_exit")."""
        return self.rows("user_exit").frame()

    @cached_property
    def signals(self) -> pd.DataFrame:
        """One row a signal to a thread that had trapped lately; columns: frames.described("signal")."""
        return self.rows("signal").frame()

    @cached_property
    def migrations(self) -> pd.DataFrame:
        """One row a move of such a thread to another CPU; columns: frames.described("migrate")."""
        return self.rows("migrate").frame()

    @cached_property
    def stalls(self) -> pd.DataFrame:
        """One row a wait inside KVM; columns: frames.described("stall")."""
        return self.rows("stall").frame()

    @cached_property
    def detail(self) -> pd.DataFrame:
        """One row a change of the level of detail; columns: frames.described("detail")."""
        return self.rows("detail").frame()

    @cached_property
    def _names(self) -> dict[int, str]:
        tasks = self.recording.records("task")
        return {int(task["tid"]): escape.comm(bytes(task["comm"])) for task in tasks}

    def subject(self, tgid: int, tid: int, vcpu: int | None) -> Subject:
        """Who a thread is.

        vcpu: as the records have it; where they do not (None or <NA>), the thread's name may tell it.
        """
        path = ("processes", str(tgid))
        process = self.text(*path, "comm", otherwise=self._names.get(tgid, ""))
        thread = self._names.get(tid, "")
        names = {key: escape.escape(self.text(*path, "vm", key)) for key in KEYS}
        return Subject(
            process=escape.escape(process),
            tgid=int(tgid),
            thread=thread,
            tid=int(tid),
            vcpu=int(vcpu) if isinstance(vcpu, int | np.integer) else vcpu_of(thread),
            vm=display_name(names),
            vm_uuid=names["uuid"],
            vmm=escape.escape(self.text(*path, "vmm")),
        )


def _outcome(_: Mapping[str, Labels], traps: Records) -> dict[str, Array]:
    handled = np.uint32(schemas.current().enums["trap_flags"].values["HANDLED"])
    return {
        "early_return": early_returns.returned_early(traps),
        "detection_off": early_returns.detection_off(traps),
        "fatal": (traps["flags"] & handled) == 0,
    }


def _waited(_: Mapping[str, Labels], stalls: Records) -> dict[str, Array]:
    return {"waited_ns": stalls["end_ns"].astype(np.int64) - stalls["ns"].astype(np.int64)}


_COMPUTED: dict[str, Callable[[Mapping[str, Labels], Records], Mapping[str, Array]]] = {
    "trap": _outcome,
    "exit": exit_counts.derived,
    "user_exit": exit_counts.returned,
    "stall": _waited,
}
_NAMED = {"exit", "user_exit"}


def _look_up(tree: Any, path: Sequence[str]) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _number(tree: Any, path: Sequence[str]) -> int | None:
    found = _look_up(tree, path)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 1 << 62 else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def load(
    path: Path, symbols: Symbols | None = None, on_read: Callable[[int], object] = lambda _: None
) -> Trace:
    """Opens a recording, see reader.open_recording; raises SldtraceError where there is nothing to read."""
    with diagnostics.phase(_log, f"open {path}"):
        return Trace(reader.open_recording(path, on_read), symbols)


def _gathered(pieces: Iterable[Records]) -> Iterator[Records]:
    # Few arrays of BATCH records or more: each has a cost of its own, and a chunk may have one record.
    waiting: list[Records] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        if count >= rows.BATCH:
            yield np.concatenate(waiting)
            waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting)
