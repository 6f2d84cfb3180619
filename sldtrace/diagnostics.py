"""The messages of `-v` and `--debug`: lines on stderr with the time since the start; off by default."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from sldtrace.text.escape import escape

_ROOT = "sldtrace"
_MOST = 4096  # characters of a line
_HOST_FOLDERS = ("/proc/", "/sys/", "/dev/", "/etc/", "/lib/modules/")
_host_log = logging.getLogger(f"{_ROOT}.host")
_hook_installed = False


class _Formatter(logging.Formatter):
    """`sldtrace: SECONDS MODULE: MESSAGE`, and the lines of a traceback; text of guests is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        module = record.name.removeprefix(_ROOT + ".")
        text = escape(f"{record.relativeCreated / 1000:.3f} {module}: {record.getMessage()}", _MOST)
        lines = [f"sldtrace: {text}"]
        if record.exc_info:
            lines += [escape(line, _MOST) for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(lines)


class _Handler(logging.Handler):
    """Writes to what sys.stderr is at the time; a stderr that is closed ends nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        # On a terminal the progress line of `sldtrace record` may be there.
        with suppress(OSError, ValueError):
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            click.echo(clear + self.format(record), err=True)


def configure(level: int) -> None:
    """Shows the messages of sldtrace from this level of `logging` on: INFO for -v, DEBUG for --debug.

    WARNING switches them off. With DEBUG each file of the host that Python opens and each program that it
    starts is a message, too.
    """
    root = logging.getLogger(_ROOT)
    root.propagate = False
    root.setLevel(level)
    root.handlers = [_Handler()]
    root.handlers[0].setFormatter(_Formatter())
    if level <= logging.DEBUG:
        _install_hook()


def debugging() -> bool:
    """Is --debug given?"""
    return logging.getLogger(_ROOT).isEnabledFor(logging.DEBUG)


@contextmanager
def phase(log: logging.Logger, name: str) -> Iterator[None]:
    """Logs, as INFO, how long the block took; also when it fails."""
    start = time.monotonic()
    try:
        yield
    finally:
        log.info("%s: %.3f s", name, time.monotonic() - start)


# Audit hooks cannot be removed (sys.addaudithook), so there is one, which does nothing without --debug.
def _install_hook() -> None:
    global _hook_installed
    if not _hook_installed:
        sys.addaudithook(_audit)
        _hook_installed = True


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event not in ("open", "subprocess.Popen") or not debugging():
        return
    if event == "subprocess.Popen":
        _host_log.debug("run %s", arguments[1])
        return
    path = arguments[0]
    if isinstance(path, str | bytes | os.PathLike):
        name = os.fsdecode(path)
        if name.startswith(_HOST_FOLDERS):
            _host_log.debug("open %s", name)
