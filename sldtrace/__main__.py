"""The entry point of `sldtrace` and `python -m sldtrace`."""

# Before anything else: Ctrl-C in an import would print a traceback. This module is compiled into Python.
import _signal  # type: ignore[import-not-found]

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _OURS = True
else:
    _OURS = False


def main() -> None:
    """Runs the command line and exits."""
    from sldtrace.cli import run

    if _OURS:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    try:
        run()
    finally:
        # Nothing is left to clean up, and Ctrl-C while the interpreter ends would print a traceback.
        if _OURS:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


if __name__ == "__main__":
    main()
