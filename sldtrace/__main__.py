"""The entry point of `sldtrace` and `python -m sldtrace`."""

# Before anything else: Ctrl-C in an import would print a traceback. This module is compiled into Python.
import _signal  # type: ignore[import-not-found]

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def main() -> None:
    """Runs the command line and exits. Only a command handles SIGINT (`interrupt.handled`)."""
    from sldtrace.cli import run

    run()


if __name__ == "__main__":
    main()
