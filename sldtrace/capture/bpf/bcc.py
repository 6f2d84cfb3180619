"""Imports bcc from the distribution's packages, also in a venv, and captures its output."""

import contextlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from sldtrace.errors import SldtraceError
from sldtrace.host import distribution

_log = logging.getLogger(__name__)

# bcc is not on PyPI. Where the distributions put it; a virtual environment does not look there by itself.
_DISTRIBUTION_PATHS = (
    "/usr/lib/python3/dist-packages",
    f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages",
    f"/usr/lib64/python{sys.version_info.major}.{sys.version_info.minor}/site-packages",
)


def load() -> Any:
    """The module `bcc`; raises SldtraceError if it is missing or does not fit this Python."""
    tried = ["", *(path for path in _DISTRIBUTION_PATHS if os.path.isdir(path + "/bcc"))]
    reason = "not found"
    for path in tried:
        if path:
            sys.path.insert(0, path)  # also before another package of that name
        try:
            module = importlib.import_module("bcc")
            if hasattr(module, "BPF"):  # PyPI's `bcc` is about crystal lattices
                _log.info(
                    "bcc %s from %s", getattr(module, "__version__", "without version"), module.__file__
                )
                return module
            if module.__file__:
                reason = f"{module.__file__} is another package of that name"
            for name in [name for name in sys.modules if name.split(".")[0] == "bcc"]:
                del sys.modules[name]
        except ImportError as error:
            reason = str(error)
        except OSError as error:  # libbcc.so itself
            reason = str(error)
        finally:
            if path:
                sys.path.remove(path)
    raise SldtraceError(
        f"the Python module bcc cannot be used ({reason})", distribution.read().install("bcc")
    )


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Captures what libbcc and LLVM write to file descriptor 2; the list contains it afterwards."""
    lines: list[str] = []
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            lines += sink.read().decode("utf-8", "replace").splitlines()
