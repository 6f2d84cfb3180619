"""The negative control, in the emulated host: guests under a timer on kernels whose penalty is live-patched.

The candidate fixes are those of split_lock_fixes/split_lock_fixes.c. The kernel counts and traces what the
guests do, without sldtrace; what that recorded beside it, and what it predicts, is compared with it outside.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run as program

from tests.integration.observing import Account, Protocol, Recorder, guest_here

NAME = "split_lock_fixes"
MODULE = Path(f"/tmp/{NAME}.ko")
_PARAMETER = Path(f"/sys/module/{NAME}/parameters/fix")
_PATCH = Path(f"/sys/kernel/livepatch/{NAME}")
_SECONDS = 120  # for the change from one function to the other

COPY, *FIXES = ("stock", "uninterruptible", "remaining", "early-returns:3")
"""By numbers of the module's parameter, as `report --what-if fix=` has them. COPY is as the kernel has it."""
UNPATCHED, REMOVED = "unpatched", "removed"
MANY = 3

TIMEOUT_NS = 1_000_000
_TRACED = {"kvm/kvm_userspace_exit": "", "msr/write_msr": "msr == 0x33"}


def run(folder: Path) -> Protocol:
    """One guest on the kernel as it is, with each candidate, and as it was; with each three guests, too."""
    cases = {UNPATCHED: _ran(folder, UNPATCHED)}
    recorder = Recorder(folder / "fixes.sld")
    with _patched(), recorder:
        for number, fix in enumerate((COPY, *FIXES)):
            _PARAMETER.write_text(str(number))
            cases[fix] = _ran(folder, fix)
            if fix != COPY:
                cases[f"{fix} x{MANY}"] = _ran(folder, f"{fix} x{MANY}", "--vms", str(MANY))
    cases[REMOVED] = _ran(folder, REMOVED)
    return recorder.protocol | {"cases": cases}


def _ran(folder: Path, name: str, *options: str) -> Protocol:
    print(f"part fixes: {name}", flush=True)
    trace = folder / f"{name.replace(':', '-')}.trace"
    with Account(also=_TRACED) as account:
        begin = time.monotonic_ns()
        ran = guest_here("--timeout", f"{TIMEOUT_NS}ns", "--duration", "2s", *options)
        end = time.monotonic_ns()
        counted = account.read(trace)
    return {"ran": ran, "counted": counted, "trace": trace.name, "begin_ns": begin, "end_ns": end}


@contextmanager
def _patched() -> Iterator[None]:
    """Within it the live patch is in use, by every thread."""
    program(["insmod", MODULE], check=True)
    try:
        _until(lambda: (_PATCH / "transition").read_text() == "0\n")
        yield
    finally:
        (_PATCH / "enabled").write_text("0")
        _until(lambda: not _PATCH.exists())
        program(["rmmod", NAME], check=True)


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{_PATCH}: the change takes more than {_SECONDS} s")
        time.sleep(0.1)
