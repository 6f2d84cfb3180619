"""sldtrace: why a virtual machine is slowed or frozen by x86 split-lock detection, and the proof."""

from sldtrace._version import __version__

# For type checkers. Nothing is imported here: Ctrl-C has its default action only from `__main__` on.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from sldtrace.api import Analysis, Fleet

__all__ = ["__version__", "open", "open_many"]


# What these need (numpy, pandas) is imported when they are called: the recorder starts without.
def open(path: "str | os.PathLike[str]", *, symbols: "str | os.PathLike[str] | None" = None) -> "Analysis":
    """Opens a recording: its records as DataFrames, its findings. See sldtrace.api.Analysis and docs/api.md.

    symbols: System.map, /proc/kallsyms or an ELF file of the guest, which names guest addresses.

    What is damaged is left out, and named in `warnings`. Raises sldtrace.errors.SldtraceError when nothing
    can be read.
    """
    from sldtrace import api

    return api.Analysis(path, symbols)


def open_many(paths: "Iterable[str | os.PathLike[str]]", *, skip_unreadable: bool = False) -> "Fleet":
    """Analyses recordings, of one host or many, one after the other. See sldtrace.api.Fleet and docs/api.md.

    Raises sldtrace.errors.SldtraceError for the first that cannot be read; with `skip_unreadable` they are
    in `Fleet.unreadable` instead.
    """
    from sldtrace import api

    return api.Fleet(paths, skip_unreadable)
