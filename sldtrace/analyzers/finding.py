"""What an analyzer returns: a finding with its numbers, its evidence, its cause and its remedies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from sldtrace.dataset.rows import Rows
from sldtrace.dataset.trace import Subject


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
class Remedy:
    """What to change, its cost on this kernel, and the exact command or setting where there is one."""

    what: str
    cost: str
    command: str | None = None


@dataclass(frozen=True)
class Fact:
    """One line of a finding: a label of at most ten characters, the text, and for programs the numbers.

    The numbers have their unit in the name, as in Finding.numbers.
    """

    label: str
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A stretch of time (CLOCK_MONOTONIC) in which one verdict holds, with its numbers."""

    start_ns: int
    end_ns: int
    verdict: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One finding.

    kind: name of the analyzer; headline: what is so, to follow the name of the subject (None: the finding
    is of no single thread); rip: address in the guest or program, None where there is none; start_ns,
    end_ns: CLOCK_MONOTONIC; ongoing: it had not ended when the recording did; intervals: when what was so,
    in order, where that is more than one thing; confidence, because: how sure it is, and why; numbers:
    named values with the unit in the name (_ns), counts, or shares; evidence: rows of the recording, of the
    record kind `evidence_kind`.
    """

    kind: str
    severity: Severity
    verdict: str
    subject: Subject | None
    headline: str
    rip: int | None
    start_ns: int
    end_ns: int
    ongoing: bool
    confidence: Confidence
    because: str
    cause: str
    facts: Sequence[Fact]
    numbers: dict[str, Any]
    remedies: Sequence[Remedy]
    evidence: Rows = field(compare=False)
    evidence_kind: str = "trap"
    intervals: Sequence[Interval] = ()
