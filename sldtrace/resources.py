"""Finds the files that are not Python: next to the package in the tree, inside it when installed."""

from pathlib import Path

from sldtrace.errors import SldtraceError

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str, marker: str) -> Path:
    for base in (_PACKAGE, _PACKAGE.parent):
        if (base / name / marker).is_file():
            return base / name
    raise SldtraceError(f"the folder '{name}' of sldtrace is missing", "install sldtrace again")


def bpf() -> Path:
    """The folder of the BPF programs: events.h and the .bpf.c files."""
    return _folder("bpf", "events.h")


def guests() -> Path:
    """The folder of the bundled guests: .S files and their assembled .bin files."""
    return _folder("guests", "split-bts.S")


def systemd() -> Path:
    """The folder of the systemd unit."""
    return _folder("systemd", "sldtrace.service")
