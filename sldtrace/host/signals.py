"""Names of signals and of their sources."""

import signal
from enum import IntEnum


class Code(IntEnum):
    """si_code of signals that are not faults (include/uapi/asm-generic/siginfo.h)."""

    SI_USER = 0
    SI_KERNEL = 0x80
    SI_QUEUE = -1
    SI_TIMER = -2
    SI_MESGQ = -3
    SI_ASYNCIO = -4
    SI_SIGIO = -5
    SI_TKILL = -6


def name(number: int) -> str:
    """SIGUSR1 for 10; `signal N` if it has no name, SIGRTMIN+N for real-time signals."""
    if number > signal.SIGRTMIN:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def source(code: int) -> str:
    """The source of signals with this si_code, in words."""
    words = {
        Code.SI_USER: "kill",
        Code.SI_KERNEL: "the kernel (setitimer, alarm, a terminal)",
        Code.SI_QUEUE: "sigqueue",
        Code.SI_TIMER: "a POSIX timer (timer_create)",
        Code.SI_TKILL: "tgkill or pthread_kill",
    }
    return words.get(Code(code), "the kernel") if code in set(Code) else "the kernel"


def code_name(code: int) -> str:
    """SI_TIMER for -2; `si_code N` if it has no name."""
    try:
        return Code(code).name
    except ValueError:
        return f"si_code {code}"
