"""What the monitor says about an exit that should not happen."""

import pytest

from sldtrace.host.exits import UserExit
from sldtrace.vmm import abi, exits

LOCKED = 0x4018


def state(reason: int, **union: object) -> abi.Run:
    run = abi.Run(exit_reason=reason)
    for name, value in union.items():
        setattr(run, name, value)
    return run


AC = {"ex": abi.ExitException(17, 0)}


@pytest.mark.parametrize(
    ("run", "rip", "words"),
    [
        (state(UserExit.EXCEPTION, **AC), LOCKED, ["split lock at 0x4018", "without SIGBUS"]),
        (state(UserExit.EXCEPTION, **AC), 0x4010, ["#AC at 0x4010"]),
        (state(UserExit.EXCEPTION, ex=abi.ExitException(13, 0)), LOCKED, ["KVM_EXIT_EXCEPTION"]),
        (state(UserExit.SHUTDOWN), 0x4000, ["triple fault", "0x4000"]),
        (state(UserExit.FAIL_ENTRY, fail_entry=abi.ExitHardware(0x80000021, 1)), 0, ["0x80000021"]),
        (state(UserExit.MMIO, mmio=abi.ExitMmio(phys_addr=0x20000)), 0, ["accessed 0x20000"]),
        (state(UserExit.HLT), 0x4002, ["KVM_EXIT_HLT", "0x4002"]),
        (state(99), 0, ["KVM_EXIT 99"]),
    ],
)
def test_one_line_that_names_the_exit(run: abi.Run, rip: int, words: list[str]) -> None:
    text = str(exits.unexpected(run, rip, LOCKED))
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_internal_error_shows_its_data_and_does_not_trust_their_number() -> None:
    run = state(UserExit.INTERNAL_ERROR)
    run.internal.suberror, run.internal.ndata, run.internal.data[0] = 1, 1, 0xABC
    assert "suberror" not in str(exits.unexpected(run, 0, LOCKED))
    assert "KVM_EXIT_INTERNAL_ERROR 1, data 0xabc)" in str(exits.unexpected(run, 0, LOCKED))
    run.internal.ndata = 2**32 - 1
    assert str(exits.unexpected(run, 0, LOCKED)).count("0x") == 17  # 16 data and the RIP
