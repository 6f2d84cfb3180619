"""What an analyzer returns: a finding with its numbers, its evidence, its cause and its remedies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from sldtrace.dataset.rows import Rows
from sldtrace.dataset.subject import Subject


class Severity(IntEnum):
    """How bad it is: for `--fail-on` and for the order in a report."""

    NOTICE = 1
    WARNING = 2
    CRITICAL = 3


class Confidence(IntEnum):
    """How sure a verdict is."""

    POSSIBLE = 1
    LIKELY = 2
    CERTAIN = 3


@dataclass(frozen=True)
class Numbers:
    """The values of a finding; each kind has a subclass, in the finding's module.

    The unit is in the name: `_ns`; `_per_s`; `share` is from 0 to 1; anything else is a count or an id.
    `dataclasses.asdict` gives plain data: numbers, texts, None, and tuples and dicts of them with str keys.
    """

    @property
    def affected(self) -> list[tuple[int, int]]:
        """TGID and TID of the threads that are affected, of a finding without a subject."""
        return []

    @property
    def lost_ns(self) -> int:
        """The time that threads lost by it; 0: it costs no time by itself."""
        return 0


N = TypeVar("N", bound=Numbers, covariant=True)


@dataclass(frozen=True)
class Remedy:
    """What to change, its cost on this kernel, and the exact command or setting where there is one."""

    what: str
    cost: str
    command: str | None = None
    undo: str | None = None  # a command, or words; None: it changes nothing that has to be undone
    persist: str | None = None  # what makes it last beyond the next boot; None: it lasts by itself
    recovery: str | None = None  # when threads that are running recover; None: it ends no penalty
    verify: tuple[str, ...] = ()  # commands that show whether it worked; BEFORE.sld is this recording


@dataclass(frozen=True)
class Fact:
    """One line of a finding: a label of less than ten characters, and the text."""

    label: str
    text: str


@dataclass(frozen=True)
class Interval:
    """A stretch of time in which one verdict holds."""

    start_ns: int  # CLOCK_MONOTONIC
    end_ns: int
    verdict: str
    traps: int  # that start in it
    early_returns: int
    detection_off: int  # traps after which detection was off


@dataclass(frozen=True)
class Finding(Generic[N]):
    """One finding."""

    kind: str  # name of the analyzer
    severity: Severity
    verdict: str  # one or two words
    subject: Subject | None  # None: of no single thread
    headline: str  # a sentence without its subject, which is the name of the thread; whole without one
    rip: int | None  # address in the guest or program; None: of no single one
    start_ns: int  # CLOCK_MONOTONIC
    end_ns: int
    ongoing: bool  # it had not ended when the recording did
    confidence: Confidence
    confidence_reason: str
    cause: str  # sentences
    facts: Sequence[Fact]
    numbers: N
    remedies: Sequence[Remedy]
    evidence: Rows = field(compare=False)
    evidence_kind: str = "trap"  # record kind of the evidence
    intervals: Sequence[Interval] = ()  # in order; empty where one verdict holds all the time
