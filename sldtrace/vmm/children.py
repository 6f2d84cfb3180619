"""The processes of a run, one for each VM and each CPU load; they end with this process."""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from types import FrameType
from typing import Any

from sldtrace.errors import EXIT_ERROR, EXIT_USAGE, SldtraceError, UsageError
from sldtrace.vmm import signals
from sldtrace.vmm.forked import fork
from sldtrace.vmm.monitor import Monitor
from sldtrace.vmm.plan import Plan, Result, VcpuResult

# How much longer than its duration a run may take (starting, the last kicks) before it is killed.
GRACE_S = 30.0

# Called for each process when its threads run: its number (from 0), its PID, their TIDs.
Announce = Callable[[int, int, list[int]], None]

# Called once, with all PIDs, when all threads exist; no guest runs before it returns.
Begin = Callable[[list[int]], None]


class Children:
    """Runs each plan in a process, at the same time, and processes of CPU load. For one run().

    They always end with this process: by SIGTERM at SIGINT, SIGTERM and SIGHUP, by SIGKILL GRACE_S after
    their time, and by PR_SET_PDEATHSIG when this process is killed.
    """

    def __init__(self, plans: Sequence[Plan], load: int = 0, load_cpus: Sequence[int] = ()) -> None:
        self._plans, self._load, self._load_cpus = plans, load, load_cpus
        self._pids: dict[int, int] = {}  # descriptor of the pipe -> PID
        self._loads: list[int] = []
        self._go = -1
        self.interrupted = False  # a signal that ends the run has come

    def run(self, announce: Announce, begin: Begin = lambda pids: None) -> list[Result]:
        """The results in the order of the plans. Raises SldtraceError for the first that failed."""
        plans = self._plans
        lines: dict[int, bytes] = {}
        numbers: dict[int, int] = {}
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals.ENDING)
        theirs, self._go = os.pipe()
        with signals.handled(self._end, *signals.ENDING):
            try:
                for _ in range(self._load):
                    self._loads.append(fork(partial(_spin, self._load_cpus), "the CPU load"))
                for number, plan in enumerate(plans):
                    pipe = self._start(plan, theirs)
                    lines[pipe], numbers[pipe] = b"", number
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
                messages = self._listen(lines, numbers, announce, begin)
                return [self._result(number, pipe, messages[pipe]) for pipe, number in numbers.items()]
            finally:
                self._kill()
                os.close(theirs)
                os.close(self._go)
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _start(self, plan: Plan, go: int) -> int:
        ours, theirs = os.pipe()

        def child() -> None:
            os.close(ours)
            _work(plan, theirs, go)

        pid = fork(child, "the guest")
        os.close(theirs)
        self._pids[ours] = pid
        return ours

    def _listen(
        self, lines: dict[int, bytes], numbers: dict[int, int], announce: Announce, begin: Begin
    ) -> dict[int, dict[str, Any]]:
        """Reads all pipes to their ends, and starts all guests together; the last message of each."""
        messages: dict[int, dict[str, Any]] = {pipe: {} for pipe in lines}
        left, absent = set(lines), set(lines)
        deadline = time.monotonic() + GRACE_S
        poll = select.poll()  # select(2) takes no descriptor above 1023
        for pipe in lines:
            poll.register(pipe, select.POLLIN)
        while left:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise SldtraceError(
                    f"the guest did not end within {GRACE_S:.0f} s of its time", "it was killed"
                )
            for pipe, _ in ready:
                data = os.read(pipe, 65536)
                *whole, lines[pipe] = (lines[pipe] + data).split(b"\n")
                for line in whole:
                    messages[pipe] = json.loads(line)
                    if tids := messages[pipe].get("tids"):
                        announce(numbers[pipe], self._pids[pipe], tids)
                        absent.remove(pipe)
                        if not absent:
                            begin(list(self._pids.values()))
                            os.write(self._go, b"." * len(lines))
                            longest = max(plan.duration_ns for plan in self._plans)
                            deadline = time.monotonic() + longest / 1e9 + GRACE_S
                if not data:
                    left.remove(pipe)
                    poll.unregister(pipe)
                    if pipe in absent:
                        # Otherwise the others wait for it without end.
                        self._result(numbers[pipe], pipe, messages[pipe])
        return messages

    def _result(self, number: int, pipe: int, message: dict[str, Any]) -> Result:
        _, status = os.waitpid(self._pids[pipe], 0)
        os.close(pipe)
        del self._pids[pipe]
        code = os.waitstatus_to_exitcode(status)
        if "error" in message:
            kind = UsageError if message["status"] == EXIT_USAGE else SldtraceError
            raise kind(message["error"], message["hint"])
        if "result" in message:
            fields = message["result"]
            return Result(**{**fields, "vcpus": tuple(VcpuResult(**one) for one in fields["vcpus"])})
        if code == -signal.SIGBUS:
            raise _killed_by_sigbus(self._plans[number])
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        raise SldtraceError(f"the process of the guest {how}", "see the kernel log")

    def _end(self, signum: int, frame: FrameType | None) -> None:
        # The processes send their results so far, which ends the reading.
        self.interrupted = True
        for pid in self._pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _kill(self) -> None:
        for pid in [*self._pids.values(), *self._loads]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for pipe in self._pids:
            os.close(pipe)
        self._pids, self._loads = {}, []


def _killed_by_sigbus(plan: Plan) -> SldtraceError:
    what = f"at a split lock of guest {plan.guest.name}" if plan.guest.crosses_line else "for another reason"
    where = f" ({plan.guest.locked:#x})" if plan.guest.crosses_line and not plan.program else ""
    return SldtraceError(
        f"the kernel killed the monitor by SIGBUS {what}{where}, as it does with any VMM",
        "the kernel's command line has split_lock_detect=fatal; warn is the default",
    )


def _spin(cpus: Sequence[int]) -> None:
    if cpus:
        os.sched_setaffinity(0, cpus)
    signals.install(signal.SIG_DFL, *signals.ENDING)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    while True:
        pass


def _work(plan: Plan, pipe: int, go: int) -> None:
    def send(message: dict[str, Any]) -> None:
        os.write(pipe, json.dumps(message).encode() + b"\n")

    def started(tids: list[int]) -> None:
        send({"tids": tids})
        os.read(go, 1)

    try:
        if plan.program:
            from sldtrace.vmm import program

            result = program.run(plan, started)
        else:
            result = Monitor(plan).run(started)
        send({"result": asdict(result)})
    except SldtraceError as error:
        send({"error": error.message, "hint": error.hint, "status": error.exit_status})
    except OSError as error:
        # Mostly a CPU that went offline.
        send({"error": f"the guest was ended: {error.strerror}", "hint": None, "status": EXIT_ERROR})
    except MemoryError:
        send({"error": "no memory for the guest", "hint": "see ulimit -v", "status": EXIT_ERROR})
