"""The click group: imports the command that is used, and prints expected failures as one line.

Only what `--help` needs is imported at once: `diagnostics` (logging), `interrupt` (signal) and others take a
third of the time that click does.
"""

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sldtrace._version import __version__
from sldtrace.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_STATUSES, SldtraceError

if TYPE_CHECKING:
    import logging

COMMANDS = {
    "probe": "Measure what a split lock costs here, and who charges it.",
    "check": "Can split locks freeze VMs here, and can it be recorded?",
    "record": "Record the split-lock traps of this host into a file.",
    "top": "Show the VMs and vCPUs that trap, each second.",
    "report": "What a recording shows: verdict, evidence, what to change.",
    "compare": "Did a change help: the recordings before and after it.",
    "export": "Write a recording for pandas, DuckDB, Polars or Perfetto.",
    "fleet": "Compare the recordings of many hosts.",
    "metrics": "Serve the metrics of a running recorder to Prometheus.",
    "service": "Record all the time, as a systemd service.",
    "guest": "Run bundled guests that take split locks on this host.",
    "log": "What a kernel's log says about split locks.",
    "simulate": "Write a recording of simulated threads.",
}
"""Each is `sldtrace.commands.NAME.NAME`; with what the list of commands says, for which none is imported."""


class LazyGroup(click.Group):
    """Imports a command's module when the command is used, not before."""

    def invoke(self, ctx: click.Context) -> Any:
        import logging
        import platform

        from sldtrace import diagnostics, interrupt

        verbose, debug = ctx.params["verbose"], ctx.params["debug"]
        diagnostics.configure(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
        system = os.uname().release
        _log().info("sldtrace %s, Python %s, Linux %s", __version__, platform.python_version(), system)
        try:
            with interrupt.handled():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            _end_by_sigint()
        finally:
            if debug:
                _log_libraries()

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        from importlib import import_module

        from sldtrace import diagnostics, interrupt

        with interrupt.default_sigint(), diagnostics.phase(_log(), f"import of the command {name}"):
            command: click.Command = getattr(import_module(f"sldtrace.commands.{name}"), name)
        command.short_help = COMMANDS[name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands into the formatter. Imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


_STATUSES = "\n".join(f"  {status}  {meaning}" for status, meaning in EXIT_STATUSES.items())


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExit status:\n" + _STATUSES.replace("`", "").replace("; ", "\n     "),
)
@click.version_option(__version__, prog_name="sldtrace")
@click.option("-v", "--verbose", is_flag=True, help="Print versions, attached probes and times to stderr.")
@click.option("--debug", is_flag=True, help="Also print the files that are read, and tracebacks of errors.")
def main(verbose: bool, debug: bool) -> None:
    """Find out why a virtual machine is slowed or frozen by x86 split-lock detection.

    Record on the host while it happens (as root), read the report there or on another machine.
    """


def _log() -> "logging.Logger":
    import logging

    return logging.getLogger(__name__)


def _open_missing_streams() -> None:
    # Where a descriptor is closed at the start, Python has None, and the next open file gets its number. As
    # standard output it is opened for reading, so that writing fails: nothing can be printed there.
    for name, mode, flags in (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))


def run(argv: list[str] | None = None) -> Any:
    """Runs the command line and exits; expected failures are one line on stderr."""
    _open_missing_streams()
    stdout = sys.stdout
    try:
        main.main(args=argv, prog_name="sldtrace")
    except SldtraceError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        # Mostly of our own output: a full disk, a terminal that is closed.
        _log().debug("traceback of this error", exc_info=True)
        hint = "; raise the limit: ulimit -n 1024" if error.errno == errno.EMFILE else ""
        click.echo(f"sldtrace: {error.strerror or error}{hint}", err=True)
        # The rest of the buffer must not fail again when the interpreter ends.
        with suppress(OSError):  # there may be no descriptor left
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(EXIT_ERROR)
    except MemoryError:
        _fail("out of memory", EXIT_ERROR)
    except ModuleNotFoundError as error:
        # A host that only records need not have what reports are made with.
        library = (error.name or "").partition(".")[0]
        if library in ("", "sldtrace"):
            raise
        from sldtrace.host import distribution

        _fail(f"the Python module {library} is missing: {distribution.read().install(library)}", EXIT_ERROR)
    except SystemExit:
        # If nothing reads the output any more, click replaces sys.stdout, and ends with status 1 and no word.
        # Other programs end by SIGPIPE then.
        if sys.stdout is not stdout:
            import signal

            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)
        raise


# As a program without a handler ends: a shell then ends its loop, too.
def _end_by_sigint() -> NoReturn:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the second Ctrl-C
    _log().debug("traceback of this error", exc_info=True)
    click.echo("sldtrace: interrupted", err=True)
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit(EXIT_INTERRUPTED)  # where SIGINT is blocked


def _fail(line: str, status: int) -> NoReturn:
    _log().debug("traceback of this error", exc_info=True)
    click.echo(f"sldtrace: {line}", err=True)
    sys.exit(status)


def _log_libraries() -> None:
    from importlib import metadata

    for name in ("click", "numpy", "pandas"):
        if name in sys.modules:
            with suppress(metadata.PackageNotFoundError):
                _log().debug("%s %s", name, metadata.version(name))
