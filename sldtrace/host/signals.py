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


_SENT = {
    Code.SI_USER: "kill",
    Code.SI_QUEUE: "sigqueue",
    Code.SI_TIMER: "a POSIX timer (timer_create)",
    Code.SI_TKILL: "tgkill or pthread_kill",
}
_BY_KERNEL = {
    signal.SIGALRM: "setitimer or alarm",
    signal.SIGVTALRM: "setitimer",
    signal.SIGPROF: "setitimer",
    signal.SIGCHLD: "child processes that end, stop or continue",
    signal.SIGURG: "urgent data on a socket",
    signal.SIGIO: "a file or socket with O_ASYNC",
    **dict.fromkeys((signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH), "a terminal"),
}


def source(number: int, code: int) -> str:
    """The source of signals of this number with this si_code, in words."""
    sent = _SENT.get(Code(code)) if code in set(Code) else None
    if sent is None and code > 0 and number in _BY_KERNEL:
        return _BY_KERNEL[signal.Signals(number)]
    return sent or "the kernel"


def code_name(code: int) -> str:
    """SI_TIMER for -2; `si_code N` if it has no name."""
    try:
        return Code(code).name
    except ValueError:
        return f"si_code {code}"
