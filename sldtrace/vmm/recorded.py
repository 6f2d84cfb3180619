"""Runs `sldtrace record` for the VMs of a run: it starts before them and ends after them."""

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

from sldtrace.errors import SldtraceError
from sldtrace.vmm import libc

# The recorder writes its records and detaches its probes within this time, or is killed.
_END_S = 60.0
_LOOK_MS = 100

# The folder of this package: the child imports it from there, and nothing from the current folder.
_ROOT = Path(__file__).resolve().parents[2]


class RecorderProcess:
    """`sldtrace record` for some processes. A context manager, which ends it; its messages go to our stderr.

    It has its own session, so that Ctrl-C ends the run first and then the recording. When this process is
    killed, SIGTERM ends it (PR_SET_PDEATHSIG), with a complete file.
    """

    def __init__(self, path: Path, every_exit: bool) -> None:
        """every_exit: record each VM exit from the start, not only after traps."""
        self._path = path
        self._exits = "all" if every_exit else "recent"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RecorderProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def begin(self, pids: Sequence[int], interrupted: Callable[[], bool] = lambda: False) -> None:
        """Starts it for these processes and returns when it records, or when `interrupted`.

        Raises SystemExit with its status if it ends before; it has printed why.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifications:
            notifications.bind("")  # a free abstract address, unix(7)
            poll = select.poll()
            poll.register(notifications, select.POLLIN)
            self._process = self._start(pids, notifications.getsockname())
            while not interrupted():
                if poll.poll(_LOOK_MS) and b"READY=1" in notifications.recv(4096).split(b"\n"):
                    return
                if (status := self._process.poll()) is not None:
                    sys.exit(status if status > 0 else 128 - status)

    def end(self) -> None:
        """Ends it and waits until its file is complete. May be called twice.

        Raises SldtraceError if it does not end; it explains a status other than 0 itself.
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
        # The watchdog of this process is not that of the child.
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
    # In the child: the parent may have ended before prctl().
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
