"""What an analyzer is: the kind of finding that it looks for, its needs, and its function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from sldtrace.analyzers.finding import Finding, N
from sldtrace.analyzers.needs import Needs
from sldtrace.dataset.trace import Trace


@dataclass(frozen=True)
class Analyzer(Generic[N]):
    """Looks for one kind of finding."""

    kind: str
    title: str  # what it looks for, in the plural
    needs: Needs  # what a recording must have
    numbers: type[N]  # of its findings
    find: Callable[[Trace], Sequence[Finding[N]]]
