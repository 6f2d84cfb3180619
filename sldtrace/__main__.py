"""Lets `python -m sldtrace` do what `sldtrace` does."""

from sldtrace.cli import run

if __name__ == "__main__":
    run()
