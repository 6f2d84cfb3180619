"""The result of a check."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sldtrace.strenum import StrEnum


class State(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    NOTE = "note"
    """Information; nothing to do."""
    LIMIT = "limit"
    """A recording works, but has less in it."""
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    """It could not be checked; the fixes say how to check it."""


@dataclass(frozen=True)
class Fix:
    """A command, or an instruction where there is no command; and what it costs, if anything."""

    do: str
    cost: str = ""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    name: stable, for programs; text: one sentence or two, not escaped; data: plain JSON values, described in
    docs/check.md.
    """

    name: str
    state: State
    text: str
    fixes: tuple[Fix, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """The folders that the host is read from; others in tests."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    root: Path = Path("/")


AS_ROOT = Fix("run sldtrace check as root")
