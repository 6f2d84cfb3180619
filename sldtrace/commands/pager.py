"""Shows text in a pager, where standard output is a terminal: as git does."""

import os
import signal
import sys
from contextlib import suppress

import click

_META = "sldtrace.no_pager"
_OPTIONS = "FRX"  # of less: end if it fits the screen, keep colours, do not clear the screen


def off(context: click.Context, option: click.Parameter, value: bool) -> None:
    """The callback of `--no-pager`."""
    if value:
        context.meta[_META] = True


def show(text: str) -> None:
    """Prints the text: by $SLDTRACE_PAGER, $PAGER or less on a terminal, else as it is."""
    command = _command()
    if command is None or not _paged(command, text):
        click.echo(text, nl=False)


# None: no pager.
def _command() -> str | None:
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(_META):
        return None
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    command = os.environ.get("SLDTRACE_PAGER", os.environ.get("PAGER", "less"))
    return None if command in ("", "cat") else command


# False: there is no such program. As in git, Ctrl-C is for the pager, and ends this process after it.
def _paged(command: str, text: str) -> bool:
    import subprocess

    environment = {**os.environ, "LESS": os.environ.get("LESS", _OPTIONS)}
    sys.stdout.flush()
    pressed: list[int] = []
    # Not SIG_IGN, which the pager would inherit.
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        pager = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment)
        with suppress(BrokenPipeError):  # it was ended before all was read
            pager.communicate(text.encode(errors="backslashreplace"))
        status = pager.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
    return status not in (126, 127)
