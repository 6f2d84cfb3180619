"""What an analyzer returns: a finding with its numbers, its evidence, its cause and its remedies."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import pandas as pd

from sldtrace.trace import Subject


class Severity(IntEnum):
    """How bad it is: for `--fail-on` and for the order in a report."""

    NOTICE = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True)
class Remedy:
    """What to change, its price on this kernel, and the exact command or setting where there is one."""

    what: str
    price: str
    command: str | None = None


@dataclass(frozen=True)
class Finding:
    """One finding.

    kind: name of the analyzer; rip: address in the guest; start_ns, end_ns: CLOCK_MONOTONIC; numbers: named
    values with the unit in the name (_ns) or counts; evidence: rows of the recording, one a trap.
    """

    kind: str
    severity: Severity
    verdict: str
    subject: Subject
    rip: int
    start_ns: int
    end_ns: int
    cause: str
    numbers: dict[str, Any]
    remedies: list[Remedy]
    evidence: pd.DataFrame = field(compare=False)
