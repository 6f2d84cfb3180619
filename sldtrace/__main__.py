"""What `sldtrace` and `python -m sldtrace` begin with."""

from sldtrace import interrupt


def main() -> None:
    """Runs the command line and exits."""
    with interrupt.default_sigint():
        from sldtrace.cli import run
    run()


if __name__ == "__main__":
    main()
