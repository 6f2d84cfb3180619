"""Names of signals, and of what made them."""

import signal

import pytest

from sldtrace.host import signals


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (10, "SIGUSR1"),
        (14, "SIGALRM"),
        (9, "SIGKILL"),
        (29, "SIGIO"),
        (int(signal.SIGRTMIN), "SIGRTMIN"),
        (int(signal.SIGRTMIN) + 1, "SIGRTMIN+1"),
        (int(signal.SIGRTMIN) + 6, "SIGRTMIN+6"),
        (32, "signal 32"),
        (33, "signal 33"),
        (0, "signal 0"),
        (-1, "signal -1"),
    ],
)
def test_name(number: int, name: str) -> None:
    assert signals.name(number) == name


def test_every_signal_has_a_name_of_its_own() -> None:
    names = [signals.name(number) for number in range(1, 65)]
    assert len(set(names)) == 64
    assert signals.name(64) in ("SIGRTMAX", f"SIGRTMIN+{64 - signal.SIGRTMIN}")


# include/uapi/asm-generic/siginfo.h
@pytest.mark.parametrize(
    ("code", "name", "source"),
    [
        (0, "SI_USER", "kill"),
        (0x80, "SI_KERNEL", "the kernel"),
        (-1, "SI_QUEUE", "sigqueue"),
        (-2, "SI_TIMER", "a POSIX timer (timer_create)"),
        (-3, "SI_MESGQ", "the kernel"),
        (-5, "SI_SIGIO", "the kernel"),
        (-6, "SI_TKILL", "tgkill or pthread_kill"),
        (77, "si_code 77", "the kernel"),
    ],
)
def test_code(code: int, name: str, source: str) -> None:
    assert signals.code_name(code) == name
    assert signals.source(signal.SIGUSR1, code) == source


@pytest.mark.parametrize(
    ("number", "code", "source"),
    [
        (signal.SIGALRM, signals.Code.SI_KERNEL, "setitimer or alarm"),
        (signal.SIGALRM, signals.Code.SI_TIMER, "a POSIX timer (timer_create)"),
        (signal.SIGPROF, signals.Code.SI_KERNEL, "setitimer"),
        (signal.SIGCHLD, 1, "child processes that end, stop or continue"),  # CLD_EXITED
        (signal.SIGCHLD, signals.Code.SI_USER, "kill"),
        (signal.SIGURG, signals.Code.SI_KERNEL, "urgent data on a socket"),
        (signal.SIGIO, signals.Code.SI_KERNEL, "a file or socket with O_ASYNC"),
        (signal.SIGINT, signals.Code.SI_KERNEL, "a terminal"),
        (40, signals.Code.SI_KERNEL, "the kernel"),
    ],
)
def test_the_kernel_sends_some_for_one_reason(number: int, code: int, source: str) -> None:
    assert signals.source(number, code) == source
