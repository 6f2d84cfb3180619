"""What programs and notebooks use: a recording as typed DataFrames with its findings, and many recordings."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sldtrace.analyzers import addresses, threads
from sldtrace.analyzers.finding import Finding, Severity
from sldtrace.analyzers.findings import catalogue
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset import exit_counts, frames, trace
from sldtrace.dataset import symbols as symbol_files
from sldtrace.dataset.frames import Column
from sldtrace.dataset.subject import Subject
from sldtrace.dataset.trace import Trace
from sldtrace.errors import SldtraceError
from sldtrace.text.escape import escape

FINDINGS: Mapping[str, Column] = {
    "kind": Column("text", "name", "the analyzer: see docs/report.md"),
    "severity": Column("category", "name", "notice, warning or critical, in this order"),
    "verdict": Column("text", "name", "in a word or two"),
    "headline": Column("text", "text", "what is so, to follow the name of the thread"),
    "vm": Column("text", "name", "name of the VM, or its id; empty: not known, or of no single thread"),
    "process": Column("text", "name", "the process (the VMM); empty: not known, or of no single thread"),
    "tgid": Column("Int64", "id", "process (the VMM); <NA>: of no single thread"),
    "tid": Column("Int64", "id", "thread (the vCPU); <NA>: of no single thread"),
    "vcpu": Column("Int64", "index", "vCPU id; <NA>: not known, or of no single thread"),
    "rip": Column("UInt64", "address", "of the instruction; <NA>: of no single one"),
    "symbol": Column("text", "name", "of the guest's function there; empty: not known"),
    "start_ns": Column("int64", "ns", "CLOCK_MONOTONIC of the recorded host"),
    "end_ns": Column("int64", "ns", "the same"),
    "start": Column("datetime64[ns, UTC]", "time", "wall time; NaT: the recording does not tell"),
    "end": Column("datetime64[ns, UTC]", "time", "the same"),
    "ongoing": Column("bool", "flag", "it had not ended when the recording did"),
    "confidence": Column("category", "name", "possible, likely or certain, in this order"),
    "confidence_reason": Column("text", "text", "why it is as sure as that"),
}
"""The columns of `Analysis.findings_table`; those of `Fleet.findings` begin with `path` and `host`."""

HOSTS: Mapping[str, Column] = {
    "path": Column("text", "path", "the recording"),
    "host": Column("text", "name", "name of the recorded host (uname -n); empty: not known"),
    "simulated": Column("bool", "flag", "made by sldtrace simulate"),
    "kernel": Column("text", "name", "release of the kernel"),
    "cpu": Column("text", "name", "model of the CPU"),
    "mode": Column("text", "name", "split_lock_detect="),
    "mitigate": Column("Int64", "value", "kernel.split_lock_mitigate; <NA>: there is none, or not known"),
    "start": Column("datetime64[ns, UTC]", "time", "wall time; NaT: the recording does not tell"),
    "length_ns": Column("int64", "ns", "how long was recorded"),
    "traps": Column("int64", "count", "traps in the recording"),
    "lost": Column("int64", "count", "records that were lost while it was recorded"),
    "threads": Column("int64", "count", "threads that trapped"),
    "findings": Column("int64", "count", "findings"),
    "worst": Column("category", "name", "severity of the worst finding; <NA>: there is none"),
    "closed": Column("bool", "flag", "the recording was ended properly"),
    "warnings": Column("int64", "count", "damage, and what this version does not understand"),
}
"""The columns of `Fleet.hosts`."""

RECORDS: Mapping[str, str] = {
    "traps": "trap",
    "detection": "detection",
    "exits": "exit",
    "user_exits": "user_exit",
    "signals": "signal",
    "migrations": "migrate",
    "stalls": "stall",
    "detail": "detail",
    "names": "task",
    "run_delays": "schedstat",
    "bus_locks": "bus_lock",
    "lost": "lost",
}
"""The DataFrames of `Analysis` that have one row for each record, and the kind of record."""

_SEVERITIES = [each.name.lower() for each in Severity]
_CONFIDENCES = ["possible", "likely", "certain"]
_ORDERS = {"severity": _SEVERITIES, "worst": _SEVERITIES, "confidence": _CONFIDENCES}


def columns(name: str) -> dict[str, Column]:
    """The columns of a DataFrame of `Analysis` by its name, in order; raises KeyError."""
    if name in RECORDS:
        return frames.described(RECORDS[name])
    tables: dict[str, Mapping[str, Column]] = {
        "exit_counts": exit_counts.COLUMNS,
        "threads": threads.COLUMNS,
        "findings_table": FINDINGS,
    }
    return dict(tables[name])


class Analysis:
    """A recording, opened; also a context manager that closes it.

    Each DataFrame is made when it is asked for and then kept; `columns` has their columns with types, units
    and meanings, docs/api.md shows them. A row of `traps` takes 190 bytes, so ten million take 2 GB; the
    findings do without (sldtrace.engine). Texts are escaped: safe to print. Where this says so, times
    are those of the recorded host's CLOCK_MONOTONIC; `wall` turns them into UTC.
    """

    def __init__(
        self, path: "str | os.PathLike[str]", symbols: "str | os.PathLike[str] | None" = None
    ) -> None:
        self.path = Path(path)
        named = symbol_files.read(Path(symbols)) if symbols is not None else None
        self.trace: Trace = trace.load(self.path, named)

    def __enter__(self) -> "Analysis":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Analysis of {escape(str(self.path), 4096)}>"

    def close(self) -> None:
        """Closes the file. What has been read of it stays."""
        self.trace.recording.close()

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of the recorded host, not escaped: see docs/recording-format.md."""
        return self.trace.facts

    @property
    def warnings(self) -> list[str]:
        """One line for each thing that is damaged, missing or not understood."""
        return self.trace.recording.warnings

    @property
    def simulated(self) -> bool:
        """Was it made by `sldtrace simulate`, and recorded nowhere?"""
        return self.trace.simulated

    @property
    def span_ns(self) -> tuple[int, int]:
        """When the recording begins and ends (CLOCK_MONOTONIC, ns)."""
        return self.trace.span_ns

    @property
    def host(self) -> str:
        """The recorded host's name; empty if the recording does not tell."""
        return escape(self.trace.text("host", "name"))

    @property
    def traps(self) -> pd.DataFrame:
        """One row a trap, by `start_ns`."""
        return self.trace.traps

    @property
    def detection(self) -> pd.DataFrame:
        """One row a write of MSR_TEST_CTRL."""
        return self.trace.detection

    @property
    def exits(self) -> pd.DataFrame:
        """One row a VM exit that was recorded by itself."""
        return self.trace.exits

    @property
    def exit_counts(self) -> pd.DataFrame:
        """VM exits summed: one row for each thread and reason, most exits first."""
        return self.trace.exit_counts

    @property
    def user_exits(self) -> pd.DataFrame:
        """One row a return of KVM_RUN to the VMM."""
        return self.trace.user_exits

    @property
    def signals(self) -> pd.DataFrame:
        """One row a signal to a thread that had trapped lately, or to its process."""
        return self.trace.signals

    @property
    def migrations(self) -> pd.DataFrame:
        """One row a move of such a thread to another CPU."""
        return self.trace.migrations

    @property
    def stalls(self) -> pd.DataFrame:
        """One row a wait inside KVM, of a VM that traps."""
        return self.trace.stalls

    @property
    def detail(self) -> pd.DataFrame:
        """One row a change of how much is recorded."""
        return self.trace.detail

    @cached_property
    def names(self) -> pd.DataFrame:
        """One row a thread's name when it was met."""
        return frames.frame(self.trace.recording, "task")

    @cached_property
    def run_delays(self) -> pd.DataFrame:
        """One row a second of a thread that trapped: how long it ran and waited for a CPU."""
        return frames.frame(self.trace.recording, "schedstat")

    @cached_property
    def bus_locks(self) -> pd.DataFrame:
        """One row a second of a thread with bus locks at one address: how many raised #DB."""
        return frames.frame(self.trace.recording, "bus_lock")

    @cached_property
    def lost(self) -> pd.DataFrame:
        """One row a report of records that were lost."""
        return frames.frame(self.trace.recording, "lost")

    @cached_property
    def findings(self) -> list[Finding[Any]]:
        """What the analyzers found, the worst first; `finding.evidence.frame()` is its evidence."""
        return catalogue.run(self.trace)

    @cached_property
    def not_evaluated(self) -> list[NotEvaluated]:
        """The kinds of finding of which this recording cannot say whether there are any, and why."""
        return catalogue.not_evaluated(self.trace)

    @cached_property
    def findings_table(self) -> pd.DataFrame:
        """One row a finding, in the same order."""
        return _typed([_finding(self.trace, each) for each in self.findings], FINDINGS)

    @cached_property
    def threads(self) -> pd.DataFrame:
        """One row a thread that trapped, most traps first, with the verdict of its worst finding."""
        return threads.summarize(self.trace, self.findings)

    def subject(self, tid: int) -> Subject:
        """Who a thread that trapped is; raises SldtraceError for one that did not."""
        rows = self.threads[self.threads["tid"] == tid]
        if rows.empty:
            raise SldtraceError(f"no thread with TID {tid} trapped", "`threads` has those that did")
        return self.trace.subject(int(rows["tgid"].iloc[0]), tid, rows["vcpu"].iloc[0])

    def wall(self, times: "pd.Series[int]") -> "pd.Series[pd.Timestamp]":
        """CLOCK_MONOTONIC times (ns) as UTC timestamps (datetime64[ns, UTC]), with the same index.

        Raises SldtraceError where the recording does not tell what time it was.
        """
        return frames.wall_clock(self.trace.recording, times)


class Fleet:
    """Recordings, analysed one after the other, so that one of them is in memory at a time.

    hosts: one row a recording; findings, threads: those tables of all recordings, with `path` and `host`
    first; unreadable: for each path that was skipped, the error. Iterating opens the recordings again, one
    by one, as Analysis.
    """

    def __init__(self, paths: "Iterable[str | os.PathLike[str]]", skip_unreadable: bool = False) -> None:
        self.paths: list[Path] = []
        self.unreadable: dict[Path, SldtraceError] = {}
        hosts, findings, whose = [], [_typed([], FINDINGS)], [_typed([], threads.COLUMNS)]
        origins: list[list[tuple[str, str]]] = [[], []]
        for path in map(Path, paths):
            try:
                with Analysis(path) as one:
                    hosts.append(_host(one))
                    tables = one.findings_table, one.threads
            except SldtraceError as error:
                if not skip_unreadable:
                    raise
                self.unreadable[path] = error
                continue
            self.paths.append(path)
            for into, table, origin in zip((findings, whose), tables, origins, strict=True):
                into += [table] if len(table) else []
                origin += [(hosts[-1]["path"], hosts[-1]["host"])] * len(table)
        self.hosts: pd.DataFrame = _typed(hosts, HOSTS)
        self.findings: pd.DataFrame = _joined(findings, origins[0])
        self.threads: pd.DataFrame = _joined(whose, origins[1])

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Analysis]:
        for path in self.paths:
            with Analysis(path) as one:
                yield one


def _finding(recorded: Trace, finding: Finding[Any]) -> dict[str, Any]:
    who = finding.subject
    return {
        "kind": finding.kind,
        "severity": finding.severity.name.lower(),
        "verdict": finding.verdict,
        "headline": finding.headline,
        "vm": who.vm if who else "",
        "process": who.process if who else "",
        "tgid": who.tgid if who else None,
        "tid": who.tid if who else None,
        "vcpu": who.vcpu if who else None,
        "rip": finding.rip,
        "symbol": addresses.symbol(recorded, finding.rip, addresses.is_guests(finding)) or "",
        "start_ns": finding.start_ns,
        "end_ns": finding.end_ns,
        "start": recorded.wall_ns(finding.start_ns),
        "end": recorded.wall_ns(finding.end_ns),
        "ongoing": finding.ongoing,
        "confidence": finding.confidence.name.lower(),
        "confidence_reason": finding.confidence_reason,
    }


def _host(one: Analysis) -> dict[str, Any]:
    recorded = one.trace
    start, end = recorded.span_ns
    return {
        "path": escape(str(one.path), 4096),
        "host": one.host,
        "simulated": one.simulated,
        "kernel": escape(recorded.text("kernel", "release")),
        "cpu": escape(recorded.text("cpu", "model")),
        "mode": escape(recorded.text("split_lock", "mode")),
        "mitigate": recorded.number("split_lock", "mitigate"),
        "start": recorded.wall_ns(start),
        "length_ns": end - start,
        "traps": int(one.threads["traps"].sum()),
        "lost": sum(loss.count for loss in recorded.recording.losses),
        "threads": len(one.threads),
        "findings": len(one.findings),
        "worst": one.findings[0].severity.name.lower() if one.findings else None,
        "closed": recorded.recording.closed,
        "warnings": len(one.warnings),
    }


def _typed(rows: list[dict[str, Any]], described: Mapping[str, Column]) -> pd.DataFrame:
    data = {}
    for name, column in described.items():
        values = [row[name] for row in rows]
        data[name] = _SPECIAL.get(column.dtype, _plain)(values, name, column.dtype)
    return pd.DataFrame(data)


def _plain(values: list[Any], _: str, dtype: str) -> Any:
    return pd.Series(values, dtype=dtype)


def _text(values: list[Any], _: str, __: str) -> Any:
    return pd.Series(values, dtype=str)


def _category(values: list[Any], name: str, _: str) -> Any:
    return pd.Series(pd.Categorical(values, categories=_ORDERS[name], ordered=True))


# Through integers: times of 1e18 ns do not fit into a float.
def _times(values: list[Any], _: str, __: str) -> Any:
    missing = np.iinfo(np.int64).min
    whole = np.array([missing if value is None else value for value in values], np.int64)
    return pd.Series(pd.to_datetime(whole.view("M8[ns]"), utc=True))


_SPECIAL: dict[str, Callable[[list[Any], str, str], Any]] = {
    "text": _text,
    "category": _category,
    "datetime64[ns, UTC]": _times,
}


def _joined(tables: list[pd.DataFrame], origin: list[tuple[str, str]]) -> pd.DataFrame:
    # The empty one has the types where there is nothing else.
    joined = pd.concat(tables[1:] or tables, ignore_index=True)
    joined.insert(0, "path", pd.Series([path for path, _ in origin], dtype=str))
    joined.insert(1, "host", pd.Series([host for _, host in origin], dtype=str))
    return joined
