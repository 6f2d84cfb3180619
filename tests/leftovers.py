"""What a piece of work leaves behind in this process: children, dead ones too, and open files.

The machines of the lab run beside the tests, as children of this process with pipes of their own: not meant.
"""

import os
from pathlib import Path

_SELF = Path("/proc/self")


def children() -> set[int]:
    """PIDs of the children of all threads, zombies included (proc_tid_children(5)), without the lab's."""
    pids = {int(pid) for path in _SELF.glob("task/*/children") for pid in path.read_text().split()}
    return {pid for pid in pids if not _is_lab(pid)}


def files() -> dict[str, str]:
    """What is open, by descriptor, but for pipes.

    Compare with <=: what other tests left to the garbage collector may be closed in between.
    """
    found = {}
    for name in os.listdir(_SELF / "fd"):
        try:
            target = os.readlink(_SELF / "fd" / name)
        except OSError:
            continue  # the one of this listing
        if not target.startswith("pipe:"):
            found[name] = target
    return found


def _is_lab(pid: int) -> bool:
    try:
        return b"\0-m\0lab\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # it has ended, and another thread has waited for it
