"""What a recording is written to: one file (writer.Writer), several (rotation.Rotation), or none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sldtrace.recording.layout import Records


class Sink(Protocol):
    """See Writer for the methods; warning: a line about something that could not be done, or None."""

    warning: str | None
    compress: bool

    @property
    def path(self) -> Path:
        """The file that is being written."""

    @property
    def size(self) -> int:
        """Bytes in it so far."""

    def append(self, kind: str, records: Records) -> None:
        """Adds records of one kind."""

    def facts_update(self, facts: Mapping[str, Any]) -> None:
        """Writes facts that are new or have changed."""

    def flush(self) -> None:
        """Writes buffered records."""

    def close(self, closing: Mapping[str, Any]) -> None:
        """Writes the closing facts and closes the file."""


class NoSink:
    """Nothing is written."""

    warning: str | None = None
    compress = False
    path = Path()
    size = 0

    def append(self, kind: str, records: Records) -> None:
        """Drops them."""

    def facts_update(self, facts: Mapping[str, Any]) -> None:
        """Drops them."""

    def flush(self) -> None:
        """There is nothing to write."""

    def close(self, closing: Mapping[str, Any]) -> None:
        """There is nothing to close."""
