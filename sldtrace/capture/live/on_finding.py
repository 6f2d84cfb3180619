"""Runs the command of --on-finding: one at a time, for a limited time; the recorder never waits for it."""

import contextlib
import os
import signal
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from sldtrace.text.escape import escape

LIMIT_NS = 30_000_000_000
"""A command that runs longer is killed (SIGKILL to its process group)."""

EVERY_NS = 60_000_000_000
"""A command is started for the same thread and severity at most once in this time."""

MOST_WAITING = 16
"""Findings that can wait while a command runs; further ones are dropped, with one warning."""

_MOST_KNOWN = 4096
_SHELL = "/bin/sh"
_END_NS = 5_000_000_000  # for the command that runs when the recording ends, and those that wait
_KILL_NS = 1_000_000_000


@dataclass
class _Run:
    pid: int
    started_ns: int
    errors: int  # our end of its standard error
    last_line: bytes = b""
    killed: bool = False

    def kill(self) -> None:
        # The process group, which is its own; the PID is ours until it is waited for.
        self.killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class OnFinding:
    """The command of `--on-finding`; call `poll` regularly, and `close` at the end.

    /bin/sh runs the command with the finding on its standard input. Its standard output is discarded; if it
    fails, the last line of its standard error is in the warning. on_message: called with a line of text.
    """

    def __init__(
        self,
        command: str,
        on_message: Callable[[str], None],
        limit_ns: int = LIMIT_NS,
        every_ns: int = EVERY_NS,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._command = command
        self._on_message = on_message
        self._limit = limit_ns
        self._every = every_ns
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._last: OrderedDict[tuple[int, int, str], int] = OrderedDict()
        self._run: _Run | None = None
        self.dropped = 0

    def offer(self, tgid: int, tid: int, severity: str, finding: bytes) -> bool:
        """Queues the finding unless one of this thread and severity came within EVERY_NS; whether it did."""
        key, now = (tgid, tid, severity), self._clock()
        last = self._last.get(key)
        if last is not None and now - last < self._every:
            return False
        if len(self._waiting) >= MOST_WAITING:
            if not self.dropped:
                self._on_message(
                    "warning: the --on-finding command is too slow; some findings are not passed to it"
                )
            self.dropped += 1
            return False
        self._last[key] = now
        self._last.move_to_end(key)
        while len(self._last) > _MOST_KNOWN:
            self._last.popitem(last=False)
        self._waiting.append(finding)
        self.poll()
        return True

    def poll(self) -> None:
        """Reaps the command if it has ended, kills it after its limit, starts the next one; never blocks."""
        run = self._run
        if run is not None:
            self._listen(run)
            pid, status = os.waitpid(run.pid, os.WNOHANG)
            if pid:
                self._ended(run, os.waitstatus_to_exitcode(status))
            elif self._clock() - run.started_ns > self._limit:
                run.kill()
        if self._run is None and self._waiting:
            self._start(self._waiting.popleft())

    def close(self, grace_ns: int = _END_NS) -> None:
        """Waits up to `grace_ns` for the running and the queued commands, then kills and drops them."""
        self._wait(grace_ns)
        self.dropped += len(self._waiting)
        self._waiting.clear()
        if self._run is not None:
            self._run.kill()
            # It ends at once, unless it hangs in the kernel; then it is not waited for.
            self._wait(_KILL_NS)

    def _wait(self, longest_ns: int) -> None:
        deadline = self._clock() + longest_ns
        while (self._run or self._waiting) and self._clock() < deadline:
            self.poll()
            time.sleep(0.01)

    def _start(self, finding: bytes) -> None:
        # A memfd, not a pipe: the write does not block if the command does not read.
        given = os.memfd_create("sldtrace-finding")
        errors, its_errors = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.write(given, finding)
            os.lseek(given, 0, os.SEEK_SET)
            os.set_blocking(its_errors, True)
            pid = os.posix_spawn(
                _SHELL,
                ["sh", "-c", self._command],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, given, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, its_errors, 2),
                ],
                setpgroup=0,
                setsigmask=[],  # the recorder blocks the stop signals
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
            self._run = _Run(pid, self._clock(), errors)
        except OSError as error:
            os.close(errors)
            self._on_message(f"warning: the --on-finding command cannot be started: {error.strerror}")
        finally:
            os.close(given)
            os.close(its_errors)

    def _listen(self, run: _Run) -> None:
        # At most what a pipe holds, so that a command that writes without end costs little.
        with contextlib.suppress(BlockingIOError):
            block = os.read(run.errors, 65536)
            lines = [line for line in (run.last_line + block).split(b"\n") if line.strip()]
            run.last_line = lines[-1][-500:] if lines else b""

    def _ended(self, run: _Run, status: int) -> None:
        self._listen(run)
        os.close(run.errors)
        self._run = None
        if run.killed:
            why = "took too long and was killed"
        elif status < 0:
            why = f"was killed by signal {-status}"
        else:
            why = f"failed with status {status}" if status else ""
        if why:
            said = f": {escape(run.last_line)}" if run.last_line else ""
            self._on_message(f"warning: the --on-finding command {why}{said}")
