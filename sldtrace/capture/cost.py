"""The cost of the recording: CPU time and memory of this process, and time spent in the probes."""

import contextlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sldtrace.capture.bpf import syscalls
from sldtrace.capture.bpf.syscalls import Runs

_MEASURED_NS = 1_000_000_000
_MEASURED_EXITS = 500  # with fewer, other probes would distort the cost of an exit
_STATUS = Path("/proc/self/status")
_ENABLED = Path("/proc/sys/kernel/bpf_stats_enabled")


class Cost:
    """Measures the cost of one recording; `close` disables the kernel's statistics.

    The kernel times BPF programs only while statistics are enabled, and then reads a clock twice for each
    run. So they are enabled only until the probes of VM exits have been attached for a second and have seen
    some exits; later times are estimated from the cost of an exit and the exits counted. Where
    kernel.bpf_stats_enabled is 1, everything is measured.
    """

    def __init__(self) -> None:
        self._always = _read_flag(_ENABLED)
        self._stats: int | None = None
        with contextlib.suppress(OSError):
            self._stats = syscalls.enable_stats()
        self._measures = self._always or self._stats is not None
        self._armed_ns = 0
        self._start_ns = self._then_ns = time.monotonic_ns()
        self._cpu_ns = self._start_cpu_ns = time.process_time_ns()
        self._probes_ns = 0.0
        self._run_ns = self._exits = self._measured_exits = 0
        self._measured_run_ns = self._measured_ns = 0

    @property
    def times(self) -> bool:
        """Whether the kernel times the probes now."""
        return self._always or self._stats is not None

    def each_second(self, runs: Mapping[str, Runs], exits: int, armed: bool) -> float:
        """Per cent of one CPU since the last call, recorder and probes; call it once a second.

        runs: Program.runs, of all probes while `times` is true; exits: VM exits counted since the start;
        armed: whether the probes of VM exits were attached since the last call.
        """
        now, cpu, run = time.monotonic_ns(), time.process_time_ns(), sum(each.ns for each in runs.values())
        passed, spent = max(now - self._then_ns, 1), cpu - self._cpu_ns
        grown, more = run - self._run_ns, max(exits - self._exits, 0)
        self._then_ns, self._cpu_ns, self._run_ns, self._exits = now, cpu, run, exits
        if self.times:
            probes = float(grown)
            self._measured_ns += passed
            if armed:
                self._armed_ns += passed
                self._measured_run_ns += grown
                self._measured_exits += more
                if self._armed_ns >= _MEASURED_NS and self._measured_exits >= _MEASURED_EXITS:
                    self._stop()
        else:
            probes = more * self._measured_run_ns / self._measured_exits if self._measured_exits else 0.0
        self._probes_ns += probes
        return 100 * (spent + probes) / passed

    def fact(self) -> dict[str, Any]:
        """The sums, for the closing facts: ns, bytes; `measured_ns` is how much of `elapsed_ns` was measured.

        probes_ns is null where the kernel did not allow statistics.
        """
        return {
            "elapsed_ns": time.monotonic_ns() - self._start_ns,
            "recorder_cpu_ns": time.process_time_ns() - self._start_cpu_ns,
            "probes_ns": round(self._probes_ns) if self._measures else None,
            "measured_ns": self._measured_ns,
            "memory_bytes": _memory("VmRSS"),
        }

    def close(self) -> None:
        """Disables the kernel's statistics."""
        self._stop()

    def _stop(self) -> None:
        if self._stats is not None:
            os.close(self._stats)
            self._stats = None


def _read_flag(path: Path) -> bool:
    try:
        return path.read_text().strip() == "1"
    except OSError:
        return False


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
