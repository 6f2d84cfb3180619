"""What a recording is written to: one file (writer.Writer) or several (rotation.Rotation)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sldtrace.recording.layout import Records


class Sink(Protocol):
    """See Writer for what the methods do; note: a line about what could not be done, or None."""

    note: str | None
    compress: bool

    @property
    def path(self) -> Path:
        """The file that is being written."""

    @property
    def size(self) -> int:
        """Bytes in it so far."""

    def append(self, kind: str, records: Records) -> None:
        """Takes records of one kind."""

    def facts_update(self, facts: Mapping[str, Any]) -> None:
        """Writes facts that became known or changed."""

    def flush(self) -> None:
        """Writes what is buffered."""

    def close(self, closing: Mapping[str, Any]) -> None:
        """Writes the end."""
