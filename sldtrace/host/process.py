"""Who a traced process is, from /proc, while it lives."""

import os
from pathlib import Path


def describe(tgid: int, proc: Path = Path("/proc")) -> dict[str, str]:
    """Name (comm) and program (exe) of a process; empty where it has gone. The texts are not escaped."""
    found = {}
    try:
        found["comm"] = (
            (proc / str(tgid) / "comm").read_bytes().rstrip(b"\n").decode("utf-8", "backslashreplace")
        )
        found["exe"] = os.fsencode(os.readlink(proc / str(tgid) / "exe")).decode("utf-8", "backslashreplace")
    except OSError:
        pass
    return found


def exists(tgid: int, proc: Path = Path("/proc")) -> bool:
    """Is there a process with this TGID (not merely a thread with this TID)?"""
    try:
        status = (proc / str(tgid) / "status").read_text(errors="replace")
    except OSError:
        return False
    return f"\nTgid:\t{tgid}\n" in status
