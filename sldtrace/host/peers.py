"""The processes that are connected to the Unix sockets of a VMM: of QEMU, those that can poll its monitor."""

import os
import socket
import struct
from pathlib import Path

from sldtrace.host.libc import check, libc

_PIDFD_GETFD = 438  # 8649c322f75c (5.6)
_CREDENTIALS = struct.Struct("=iII")  # struct ucred, include/linux/socket.h
_MOST = 256  # sockets


def connected(tgid: int, proc: Path = Path("/proc")) -> dict[int, str] | None:
    """PID and comm (not escaped) of each process at the other end of a Unix socket of this process.

    By SO_PEERCRED, so the process that called connect(2): it may have ended since (comm "") or passed its
    socket on. None where the sockets cannot be read, which requires the rights of ptrace. Itself is left out,
    and what is in a PID namespace that is not visible here.
    """
    try:
        numbers = [int(each.name) for each in (proc / str(tgid) / "fd").iterdir() if _is_socket(each)]
    except OSError:
        return None
    if not numbers:
        return {}
    try:
        process = os.pidfd_open(tgid)
    except OSError:
        return None
    try:
        found = {_peer(process, number) for number in sorted(numbers)[:_MOST]}
    except PermissionError:
        return None
    finally:
        os.close(process)
    return {pid: _comm(proc / str(pid)) for pid in sorted(found - {0, tgid})}


def _is_socket(link: Path) -> bool:
    try:
        return os.readlink(link).startswith("socket:")
    except FileNotFoundError:  # closed since then
        return False


# Of a socket of another family, or one that was closed since then, 0.
def _peer(process: int, number: int) -> int:
    try:
        copy = check(libc.syscall(_PIDFD_GETFD, process, number, 0))
    except PermissionError:
        raise
    except OSError:
        return 0
    with socket.socket(fileno=copy) as one:
        if one.family != socket.AF_UNIX:
            return 0
        credentials = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[0])


def _comm(entry: Path) -> str:
    try:
        return (entry / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""
