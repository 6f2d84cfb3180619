"""The entry point of `sldtrace` and `python -m sldtrace`."""

from sldtrace import interrupt


def main() -> None:
    """Runs the command line and exits."""
    with interrupt.default_sigint():
        from sldtrace.cli import run
    run()


if __name__ == "__main__":
    main()
