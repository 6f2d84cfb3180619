"""Which vCPU a thread runs, by the name that its VMM gave it."""

import re
from pathlib import Path

from sldtrace.host.vms.vmms import VMMS

_NAMES = re.compile(
    "|".join(re.escape(name).replace(r"\{vcpu\}", "([0-9]+)") for vmm in VMMS for name in vmm.threads)
)


def vcpu_of(comm: str) -> int | None:
    """The index of the vCPU, from a thread's name (comm); None if it is not the name of a vCPU thread.

    A name is a hint: any process can set the names of its threads, and QEMU names its vCPU threads only with
    -name debug-threads=on.
    """
    match = _NAMES.fullmatch(comm)
    if match is None:
        return None
    return int(match[match.lastindex]) if match.lastindex else 0


def vcpu_of_thread(tgid: int, tid: int, proc: Path = Path("/proc")) -> int | None:
    """The same for a thread that runs; None as well where it has ended."""
    try:
        raw = (proc / str(tgid) / "task" / str(tid) / "comm").read_bytes()
    except OSError:
        return None
    return vcpu_of(raw.rstrip(b"\n").decode("utf-8", "backslashreplace"))
