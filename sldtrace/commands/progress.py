"""A progress bar on stderr for what takes longer than two seconds."""

import sys
import time
from types import TracebackType

import click

_AFTER_S = 2.0


class Progress:
    """Counts steps, as a context manager; shows nothing for two seconds, or where stderr is no terminal.

    length: None where it is not known, as of a pipe; then nothing is shown. begun: when the two seconds
    began (time.monotonic), if it is a part of something longer.
    """

    def __init__(self, label: str, length: int | None, begun: float | None = None) -> None:
        self._label = label
        self._length = length
        self._done = 0
        self._begun = time.monotonic() if begun is None else begun
        self._bar: click._termui_impl.ProgressBar[int] | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def update(self, steps: int = 1) -> None:
        """Adds finished steps."""
        self._done += steps
        if self._bar is not None:
            self._bar.update(steps)
        elif self._length is not None and sys.stderr.isatty() and time.monotonic() - self._begun >= _AFTER_S:
            self._bar = click.progressbar(
                length=self._length, label=self._label, file=sys.stderr, show_pos=True
            )
            self._bar.__enter__()
            self._bar.update(self._done)


class Share:
    """The part of a bar that one of several things has, as a context manager.

    It adds no more steps than its own, and at the end those that are left.
    """

    def __init__(self, bar: Progress, steps: int) -> None:
        self._bar = bar
        self._left = steps

    def __enter__(self) -> "Share":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.update(self._left)

    def update(self, steps: int = 1) -> None:
        """Adds finished steps."""
        steps = min(steps, self._left)
        self._left -= steps
        self._bar.update(steps)
