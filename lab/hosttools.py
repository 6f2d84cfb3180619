"""Runs programs of this host. Names the package of a missing one; a failure is one line."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lab.failures import LabError

# The Debian package of each program.
PACKAGES = {
    "ar": "binutils",
    "apt-cache": "apt",
    "apt-get": "apt",
    "as": "binutils",
    "dpkg-deb": "dpkg",
    "g++": "g++",
    "gcc": "gcc",
    "git": "git",
    "ld": "binutils",
    "make": "make",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "patch": "patch",
    "setpriv": "util-linux",
    "tar": "tar",
    "unshare": "util-linux",
    "xz": "xz-utils",
}

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()


def require(names: Iterable[str]) -> None:
    """Raises LabError with the apt command when any of the programs is missing."""
    missing = [name for name in names if _find(name) is None]
    if missing:
        packages = sorted({PACKAGES[name] for name in missing})
        raise LabError(
            f"missing programs: {', '.join(missing)}", f"install with: apt-get install {' '.join(packages)}"
        )


def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Starts a program in a process group of its own.

    It gets `death_signal` when the calling thread ends (PR_SET_PDEATHSIG). Ctrl-C on the terminal does not
    reach its group: the caller ends it, with `end`.
    """
    program = [_find("setpriv") or "setpriv", "--pdeathsig", death_signal.name.removeprefix("SIG"), "--"]
    return subprocess.Popen(
        [*program, *map(str, argv)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=_environment(),
        process_group=0,
    )


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    hint: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> str:
    """Runs a program to its end and returns its standard output.

    With `log`, both streams go to that file instead. Raises LabError ("WHAT failed: last line")
    when the program cannot be started or returns anything but 0.
    """
    require(["setpriv"] if "/" in str(argv[0]) else ["setpriv", str(argv[0])])
    sink = log.open("wb") if log else None
    try:
        with _running_lock:
            process = subprocess.Popen(
                [_find("setpriv") or "setpriv", "--pdeathsig", "TERM", "--", *map(str, argv)],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink or subprocess.PIPE,
                stderr=subprocess.STDOUT if sink else subprocess.PIPE,
                env=_environment() | dict(environment or {}),
                process_group=0,
            )
            _running.add(process)
        try:
            out, err = process.communicate()
        except BaseException:
            end(process)
            raise
        finally:
            with _running_lock:
                _running.discard(process)
    finally:
        if sink:
            sink.close()
    if process.returncode != 0:
        written = log.read_bytes() if log else err
        raise LabError(f"{what} failed: {_error_line(written)}", hint or (f"see {log}" if log else None))
    return (out or b"").decode("utf-8", "replace")


def end(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """Ends a program that this module started, with its children: SIGTERM, then SIGKILL.

    patience: seconds between the two.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        # The group is the program's own (process_group=0), so nothing else can be in it.
        os.killpg(process.pid, number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def end_all() -> None:
    """Ends every program that `run` is waiting for, in any thread."""
    with _running_lock:
        processes = list(_running)
    for process in processes:
        end(process)


def _find(name: str) -> str | None:
    return shutil.which(name, path=_environment()["PATH"])


def _environment() -> dict[str, str]:
    # The sbin folders are not on a user's PATH. Messages are parsed, so they are in English.
    path = ":".join(filter(None, (os.environ.get("PATH"), _SYSTEM_PATH)))
    return {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}


def _error_line(written: bytes) -> str:
    lines = [line.strip() for line in written.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "error:")) or " error: " in line]
    return (errors or lines or ["it wrote nothing"])[-1][:300]
