"""Runs the host's own programs: missing ones are named with their package, a failure is one line."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lab.failures import LabError

# Program: the Debian package that has it.
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


def need(names: Iterable[str]) -> None:
    """Raises LabError with the apt command when any of the programs is missing."""
    missing = [name for name in names if _find(name) is None]
    if missing:
        packages = sorted({PACKAGES[name] for name in missing})
        raise LabError(
            f"this host lacks {', '.join(missing)}", f"install with: apt-get install {' '.join(packages)}"
        )


def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    die_with_us: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Starts a program in a process group of its own that gets a signal when this thread ends.

    The group keeps a Ctrl-C on the terminal from reaching it: whoever started it ends it.
    """
    program = [_find("setpriv") or "setpriv", "--pdeathsig", die_with_us.name.removeprefix("SIG"), "--"]
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
    need(["setpriv"] if "/" in str(argv[0]) else ["setpriv", str(argv[0])])
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
        said = log.read_bytes() if log else err
        raise LabError(
            f"{what} failed: {_telling_line(said)}", hint or (f"the whole log is {log}" if log else None)
        )
    return (out or b"").decode("utf-8", "replace")


def end(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """Ends a program that this module started, with its children: SIGTERM, then SIGKILL."""
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
    # The sbin folders are not on a user's PATH; messages are read by us, so they are English.
    path = ":".join(filter(None, (os.environ.get("PATH"), _SYSTEM_PATH)))
    return {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}


def _telling_line(said: bytes) -> str:
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "error:")) or " error: " in line]
    return (errors or lines or ["it said nothing"])[-1][:300]
