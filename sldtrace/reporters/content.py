"""What `sldtrace report --format json` prints: a frozen dataclass for each object, and its keys' meaning.

docs/report-schema.json and the tables in docs/report.md are made from these (tools/json_schemas.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from sldtrace.analyzers import threads
from sldtrace.analyzers.finding import Confidence, Fact, Interval, Numbers, Remedy, Severity
from sldtrace.analyzers.needs import NotEvaluated
from sldtrace.dataset import exit_counts, frames
from sldtrace.dataset.frames import Column
from sldtrace.dataset.levels import Stretch
from sldtrace.dataset.subject import Subject
from sldtrace.reporters.rows import Row, RowsOf

VERSION = 1
"""Grows when a key changes its meaning or goes away."""

_COUNT = Column("int64", "count", "how many")


def _named(kind: str, *names: str) -> dict[str, Column]:
    columns = frames.described(kind)
    return {name: columns[name] for name in names} | {"count": _COUNT}


USER_EXITS = _named("user_exit", "tgid", "tid", "name")
MIGRATIONS = _named("migrate", "tgid", "tid", "by_tgid", "by_tid")


@dataclass(frozen=True)
class FindingContent:
    """One finding."""

    kind: Annotated[str, "the analyzer that found it"]
    severity: Severity
    verdict: Annotated[str, "a few words, such as `livelock`"]
    subject: Annotated[Subject | None, "the thread; null: the finding is of no single thread"]
    headline: Annotated[str, "a sentence that follows the name of the subject"]
    rip: Annotated[str | None, "address of the instruction, hexadecimal; null: none"]
    symbol: Annotated[str | None, "the guest's function there (--symbols); null: not known"]
    start_ns: Annotated[int, "CLOCK_MONOTONIC"]
    end_ns: Annotated[int, "CLOCK_MONOTONIC"]
    start_wall_ns: Annotated[int | None, "since 1970, UTC; null: not known"]
    end_wall_ns: Annotated[int | None, "since 1970, UTC; null: not known"]
    ongoing: Annotated[bool, "it had not ended when the recording did"]
    confidence: Confidence
    confidence_reason: str
    intervals: Annotated[Sequence[Interval], "where the verdict is not the same all the time"]
    facts: Annotated[Sequence[Fact], "the numbers in words"]
    numbers: Annotated[
        Numbers, "by kind; the unit is in the name: `_ns`, `_per_s`, a share from 0 to 1, or a count"
    ]
    cause: Annotated[str, "why it happens"]
    remedies: Annotated[Sequence[Remedy], "what to change; the first is the one to try first"]
    evidence_kind: Annotated[str, "the kind of record of `evidence`"]
    evidence_count: Annotated[int, "records that the finding rests on"]
    evidence: Annotated[
        Sequence[Row], "the first and the last of those records, with the columns of their kind"
    ]


@dataclass(frozen=True)
class VerdictContent:
    """One VM or process and one cause."""

    verdict: Annotated[str, "a few words, such as `livelock`"]
    severity: Severity
    kind: Annotated[str, "the analyzer that found it"]
    vm: Annotated[str, "name of the VM, or its id; empty: not known, or of no single process"]
    tgid: Annotated[int | None, "the process; null: of no single one"]
    tids: Annotated[Sequence[int], "its threads that are affected, the worst first; empty: of no single one"]
    headline: Annotated[str, "about the worst of them: a sentence that follows its name"]
    start_ns: Annotated[int, "CLOCK_MONOTONIC"]
    end_ns: Annotated[int, "CLOCK_MONOTONIC"]
    ongoing: Annotated[bool, "it had not ended when the recording did"]
    remedy: Annotated[Remedy | None, "what to change first; null: none is known"]
    findings: Annotated[Sequence[int], "positions in `findings`, from 0"]
    related: Annotated[Sequence[int], "positions in `summary`: of the same VM or process, or the same waits"]


@dataclass(frozen=True)
class AccountContent:
    """One kind of record: counted = recorded + lost + unfinished + filtered + discarded + missing."""

    kind: str
    counted: Annotated[int | None, "events in the kernel; null: not known"]
    recorded: int
    lost: Annotated[int, "no room in a buffer or table, or not seen by the probes"]
    unfinished: Annotated[int, "the end was not seen"]
    filtered: Annotated[int, "of VMs that `record --vm` does not name"]
    discarded: Annotated[int, "removed to keep to the limit of `record --keep`"]
    missing: Annotated[int, "in no other number: 0 unless the file is damaged"]


@dataclass(frozen=True)
class LossContent:
    """Records that were lost."""

    kind: str
    cause: str
    cpu: Annotated[int | None, "null: not known"]
    count: int


@dataclass(frozen=True)
class DiscardedContent:
    """What was removed to keep to a limit (`record --keep`)."""

    records: Annotated[Mapping[str, int], "by kind"]
    first_ns: Annotated[int, "CLOCK_MONOTONIC, of the first record"]
    last_ns: Annotated[int, "CLOCK_MONOTONIC, of the last record"]
    limit_ns: Annotated[int | None, "null: no such limit"]
    limit_bytes: Annotated[int | None, "null: no such limit"]


@dataclass(frozen=True)
class FileContent:
    """One file of the recording."""

    name: str
    start_ns: Annotated[int, "CLOCK_MONOTONIC"]
    end_ns: Annotated[int, "CLOCK_MONOTONIC"]
    traps: int


@dataclass(frozen=True)
class GapContent:
    """A time between two files in which nothing was recorded."""

    start_ns: Annotated[int, "CLOCK_MONOTONIC"]
    end_ns: Annotated[int, "CLOCK_MONOTONIC"]
    missing: Annotated[int, "files that are not there (record --rotate); 0: the recorder did not run"]


@dataclass(frozen=True)
class RecordingContent:
    """The recording itself."""

    files: Annotated[Sequence[FileContent], "in order of time: more than one where they were joined"]
    gaps: Annotated[Sequence[GapContent], "between the files"]
    facts: Annotated[Mapping[str, Any], "about the host; docs/recording-format.md"]
    closing: Annotated[Mapping[str, Any] | None, "facts at the end; null: the recording has no end"]
    start_ns: Annotated[int, "CLOCK_MONOTONIC"]
    end_ns: Annotated[int, "CLOCK_MONOTONIC"]
    counts: Annotated[Mapping[str, int], "records in the file, by kind"]
    accounts: Annotated[Sequence[AccountContent], "traps first, then the other kinds that were counted"]
    losses: Sequence[LossContent]
    discarded: Annotated[DiscardedContent | None, "null: nothing"]
    warnings: Annotated[Sequence[str], "damage, in one line each"]
    levels: Annotated[Sequence[Stretch], "how much was recorded when"]


@dataclass(frozen=True)
class UnreadableContent:
    """A file that could not be read."""

    path: str
    reason: str


@dataclass(frozen=True)
class ReportContent:
    """The whole object."""

    version: Annotated[int, "1; grows when a key changes its meaning or goes away"]
    simulated: Annotated[bool, "made by `sldtrace simulate`, not recorded"]
    recording: RecordingContent
    summary: Annotated[Sequence[VerdictContent], "the findings by VM and cause, the most severe first"]
    findings: Annotated[Sequence[FindingContent], "the most severe first, no more than 1,000"]
    findings_omitted: Annotated[int, "further findings, which are in no key but `threads`"]
    not_evaluated: Annotated[Sequence[NotEvaluated], "kinds of finding that this recording cannot show"]
    limitations: Annotated[Sequence[str], "what cannot be seen on such a host, whatever happens there"]
    threads: Annotated[
        Sequence[Row], RowsOf(lambda: threads.COLUMNS), "threads that trapped, most traps first"
    ]
    exits: Annotated[
        Sequence[Row], RowsOf(lambda: exit_counts.COLUMNS), "VM exits by thread and reason, most first"
    ]
    user_exits: Annotated[
        Sequence[Row], RowsOf(lambda: USER_EXITS), "returns to the VMM that were recorded, by thread and name"
    ]
    stalls: Annotated[
        Sequence[Row],
        RowsOf(lambda: frames.described("stall")),
        "the 100 longest waits inside KVM; `penalized_tid` 0: no thread was penalized then",
    ]
    migrations: Annotated[
        Sequence[Row], RowsOf(lambda: MIGRATIONS), "moves to other CPUs, and the thread that ran then"
    ]


@dataclass(frozen=True)
class ReportsContent:
    """The reports of several files, or of a directory."""

    version: Annotated[int, "1; grows when a key changes its meaning or goes away"]
    reports: Annotated[Sequence[Any], "one for each boot of each host: by host, in order of time"]
    unreadable: Annotated[Sequence[UnreadableContent], "files that are in no report"]
    notes: Annotated[Sequence[str], "copies, which are read once, and recordings of the same time"]
    not_recordings: Annotated[int, "other files in the directories"]
