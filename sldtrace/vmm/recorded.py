"""`sldtrace record` as a process beside the VMs of a run: begun before them, ended after them."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sldtrace.errors import SldtraceError
from sldtrace.vmm import libc

# It writes out what it has and takes its probes off within this time, or is killed.
_END_S = 60.0
_LOOK_MS = 100

# Where this package is imported from: the child imports it from there, and nothing from the current folder.
_ROOT = Path(__file__).resolve().parents[2]


class Beside:
    """A recorder of some processes. A context manager, which ends it; what it says goes to our stderr.

    It has a session of its own, so that Ctrl-C ends the run first and the recording then. When this process
    is killed, SIGTERM ends it (PR_SET_PDEATHSIG), with a whole file.
    """

    def __init__(self, path: Path, every_exit: bool) -> None:
        """every_exit: record each VM exit from the beginning, not only after traps."""
        self._path = path
        self._exits = "all" if every_exit else "recent"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def begin(self, pids: Sequence[int], interrupted: Callable[[], bool] = lambda: False) -> None:
        """Starts it for these processes and returns when it records, or when `interrupted`.

        Raises SystemExit with its status if it ends before: it has said why.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.bind("")  # a free abstract address, unix(7)
            poll = select.poll()
            poll.register(told, select.POLLIN)
            self._process = self._start(pids, told.getsockname())
            while not interrupted():
                if poll.poll(_LOOK_MS) and b"READY=1" in told.recv(4096).split(b"\n"):
                    return
                if (status := self._process.poll()) is not None:
                    sys.exit(status if status > 0 else 128 - status)

    def end(self) -> None:
        """Ends it and waits until its file is whole. May be called twice.

        Raises SldtraceError if it does not end; a status other than 0 it has explained itself.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise SldtraceError(
                f"the recorder did not end in {_END_S:.0f} s", "it was killed; its file can be read"
            ) from error

    def _start(self, pids: Sequence[int], address: bytes) -> "subprocess.Popen[bytes]":
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        notify = "@" + os.fsdecode(address[1:])  # sd_notify(3) has @ for the NUL
        environment = {**os.environ, "PYTHONPATH": path, "NOTIFY_SOCKET": notify}
        # A watchdog of ours is not its own.
        environment.pop("WATCHDOG_USEC", None)
        only = [word for pid in pids for word in ("--pid", str(pid))]
        options = [f"--output={self._path}", "--exits", self._exits, *only]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sldtrace", "record", *options],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env=environment,
            start_new_session=True,
            preexec_fn=partial(_end_with, os.getpid()),
        )


def _end_with(parent: int) -> None:
    # In the child: the parent may have ended before it was asked for.
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
