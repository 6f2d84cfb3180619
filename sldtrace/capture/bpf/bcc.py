"""Imports bcc from the distribution's packages, also in a venv, and captures its output."""

import contextlib
import ctypes
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from sldtrace import resources
from sldtrace.errors import SldtraceError
from sldtrace.host import distribution
from sldtrace.host.libc import check, libc

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


_CLONE_NEWNS = 0x20000  # include/uapi/linux/sched.h
_MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18  # include/uapi/linux/mount.h


def shorten_kallsyms() -> bool:
    """Mounts a file of one line over /proc/kallsyms, for this process only; false where that is not allowed.

    libbcc reads all of /proc/kallsyms at each compilation (src/cc/frontends/clang/b_frontend_action.cc,
    check_bpf_probe_read_kernel) to learn whether there is a bpf_probe_read_kernel. There is since Linux 5.5
    (6ae08ae3dea2), and reading takes a quarter of the time of compiling.
    """
    try:
        check(libc.unshare(_CLONE_NEWNS))
        check(libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
        short = os.fsencode(resources.bpf() / "stub" / "kallsyms")
        check(libc.mount(short, b"/proc/kallsyms", None, ctypes.c_ulong(_MS_BIND), None))
    except OSError as error:
        _log.info("libbcc reads all of /proc/kallsyms: %s", error.strerror)
        return False
    return True


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
