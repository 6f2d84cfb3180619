"""Executes a given number of split locks at each of several addresses, in threads, while #DB is on."""

import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sldtrace.host import split_lock
from sldtrace.litmus.code import IMAGE, Lock
from tests.integration.observing import Protocol

DEBUGCTL, BUS_LOCK_DETECT = 0x1D9, 1 << 2  # arch/x86/include/asm/msr-index.h
AFTER = IMAGE.index(bytes.fromhex("f0ff07")) + 3
"""Bytes from the beginning of the code to the instruction after the locked one."""


def debugctl(cpu: int, bits: int | None = None) -> int:
    """IA32_DEBUGCTL of a CPU; sets it first, if that is asked for."""
    path = Path(f"/dev/cpu/{cpu}/msr")
    if bits is not None:
        with path.open("wb", buffering=0) as file:
            os.pwrite(file.fileno(), struct.pack("<Q", bits), DEBUGCTL)
    with path.open("rb", buffering=0) as file:
        return int.from_bytes(os.pread(file.fileno(), 8, DEBUGCTL), "little")


def execute(counts: list[int], done: list[Protocol]) -> None:
    """In the current thread: counts[i] split locks at the i-th address."""
    locks = [Lock() for _ in counts]
    # In turn, so that none of the addresses is the newest for long.
    for turn in range(max(counts)):
        for lock, count in zip(locks, counts, strict=True):
            if turn < count:
                lock.execute(split=True)
    done += [
        {"tid": threading.get_native_id(), "rip": lock.address + AFTER, "count": lock.executed(split=True)}
        for lock in locks
    ]


@contextmanager
def executed(*threads: list[int]) -> Iterator[Protocol]:
    """In each of these threads its bus locks, with detection on; where the mode has it off, only for that."""
    switched = split_lock.read().mode == "off"
    cpus = sorted(os.sched_getaffinity(0))
    before = {cpu: debugctl(cpu) for cpu in cpus}
    if switched:
        for cpu in cpus:
            debugctl(cpu, BUS_LOCK_DETECT)
    done: list[Protocol] = []
    begun = time.monotonic_ns()
    running = [threading.Thread(target=execute, args=(counts, done)) for counts in threads]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    took_ns = time.monotonic_ns() - begun
    if switched:
        for cpu in cpus:
            debugctl(cpu, 0)
    yield {"bus locks": done, "took_ns": took_ns, "debugctl": before, "pid": os.getpid()}
