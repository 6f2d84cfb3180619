"""What a check returns."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class State(StrEnum):
    """How it is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing to do."""
    LIMIT = "limit"
    """A recording works, but will be poorer."""
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    """It could not be seen; the fixes say how to see it."""


@dataclass(frozen=True)
class Fix:
    """A command, or what to do where there is no command; and what it costs, if that is worth knowing."""

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
    """Where the host is read from; other folders for tests."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    root: Path = Path("/")


AS_ROOT = Fix("run sldtrace check as root")
