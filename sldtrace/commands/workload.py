"""Runs the command of `sldtrace record -- COMMAND` while the recorder records."""

import os
import signal
import sys
import time
from collections.abc import Sequence

from sldtrace.capture.recorder import STOP_SIGNALS, Live
from sldtrace.text.escape import escape

_LOOK_S = 0.02
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as the shell has them


class Workload:
    """A child process that waits until the recorder records, and then becomes the command.

    It is made at once: the recorder gives up its rights before it records, and the command keeps its own.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._go, go = os.pipe()[::-1]
        self.status: int | None = None
        """Exit status of the command, that of a shell if a signal ended it; None: it has not ended."""
        self.pid = os.fork()
        if not self.pid:
            os.close(self._go)
            _become(words, go)
        os.close(go)
        self.started = False
        """The recorder recorded."""

    def look(self, live: Live, now_ns: int) -> None:
        """Starts the command at the first call; ends the recorder, as Ctrl-C does, when it has ended."""
        if not self.started:
            self.started = True
            os.write(self._go, b"!")
        elif self.status is None and self._has_ended():
            signal.raise_signal(signal.SIGINT)  # to this thread, which waits for it

    def outlasts(self, wait_s: float) -> bool:
        """Does a command that was started still run after that time? It is not ended by this."""
        end = time.monotonic() + wait_s
        while self.started and not self._has_ended():
            if time.monotonic() >= end:
                return True
            time.sleep(_LOOK_S)
        return False

    def _has_ended(self) -> bool:
        if self.status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code
        return self.status is not None

    def close(self) -> None:
        """A command that was not started is not started any more; one that runs goes on."""
        os.close(self._go)
        if not self.started:
            os.waitpid(self.pid, 0)


# In the child: never returns.
def _become(words: Sequence[str], go: int) -> None:
    status = 0
    try:
        if os.read(go, 1):
            os.close(go)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            os.execvp(words[0], list(words))
    except OSError as error:
        status = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        sys.stderr.write(f"sldtrace: cannot run {escape(words[0])}: {error.strerror}\n")
        sys.stderr.flush()
    except KeyboardInterrupt:
        pass
    finally:
        os._exit(status)
