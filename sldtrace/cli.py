"""The click group: names the commands, loads the one that is asked for, turns failures into one line."""

import importlib
import os
import sys
from typing import Any

import click

from sldtrace import interrupt
from sldtrace._version import __version__
from sldtrace.errors import EXIT_ERROR, SldtraceError

COMMANDS = {
    "check": "sldtrace.commands.check:check",
    "record": "sldtrace.commands.record:record",
    "report": "sldtrace.commands.report:report",
    "service": "sldtrace.commands.service:service",
    "guest": "sldtrace.commands.guest:guest",
    "log": "sldtrace.commands.log:log",
    "simulate": "sldtrace.commands.simulate:simulate",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used or listed, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name].split(":")
        with interrupt.default_sigint():
            command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sldtrace")
def main() -> None:
    """Find out why a virtual machine is slowed or frozen by x86 split-lock detection.

    Record on the host while it happens (as root), read the report there or on another machine.

    \b
    Exit status: 0 fine, 1 error, 2 usage, 3 a finding at or above --fail-on.
    """


def _open_missing_streams() -> None:
    # Started with a closed descriptor, Python has None there, and the next file opened would take its number.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def run(argv: list[str] | None = None) -> Any:
    """Runs the command line and exits; expected failures are one line on stderr."""
    _open_missing_streams()
    try:
        main.main(args=argv, prog_name="sldtrace")
    except SldtraceError as error:
        click.echo(f"sldtrace: {error}", err=True)
        sys.exit(error.exit_status)
    except OSError as error:
        # Chiefly our own output: a full disk, a terminal that has gone.
        click.echo(f"sldtrace: {error.strerror or error}", err=True)
        # What is left in the buffer must not fail once more, noisily, when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(EXIT_ERROR)
    except MemoryError:
        click.echo("sldtrace: out of memory", err=True)
        sys.exit(EXIT_ERROR)
