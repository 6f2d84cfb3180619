"""Where in a line a message is, and what is kept of one that is not understood."""

import pytest

from sldtrace.kernlog import message
from sldtrace.kernlog.message import Mode, Option, Suppressed, Trap, Unknown

TRAP = b"#AC: a/7 took a split_lock trap at address: 0x1"
HEAD = b"x86/split lock detection: "


@pytest.mark.parametrize("before", [0, 39, 40, 41])
def test_of_a_part_of_a_message_forty_bytes_before_it_are_kept(before: int) -> None:
    (found,) = message.find(b"x" * before + b"lock trap at address: 0x1")
    assert found.message == Unknown(b"x" * min(before, 40) + b"lock trap at address: 0x1")
    assert (found.start, found.end) == (before, before + 25)


@pytest.mark.parametrize("length", [199, 200, 201])
def test_of_what_is_not_understood_two_hundred_bytes_are_kept(length: int) -> None:
    (found,) = message.find(HEAD.ljust(length, b"x"))
    assert found.message == Unknown(HEAD.ljust(min(length, 200), b"x"))
    assert (found.start, found.end) == (0, length)
    (found,) = message.find(b"took a split_".ljust(length, b"x"))
    assert found.message == Unknown(b"took a split_".ljust(min(length, 200), b"x"))


def test_messages_that_are_glued_together_end_where_the_next_one_begins() -> None:
    line = b"[1.0] " + HEAD + TRAP + HEAD + b"x " + HEAD + b"disabled"
    trap, unknown, mode = message.find(line)
    assert isinstance(trap.message, Trap)
    assert line[trap.start : trap.end] == HEAD + TRAP
    assert (unknown.message, line[unknown.start : unknown.end]) == (Unknown(HEAD + b"x"), HEAD + b"x ")
    assert (mode.message, mode.end) == (Mode("off", "disabled"), len(line))


def test_messages_without_their_head_are_in_order() -> None:
    line = b"#AC: split_lock_warn: 3 callbacks suppressed".ljust(70) + TRAP + b" " + TRAP
    found = message.find(line)
    assert [type(each.message) for each in found] == [Suppressed, Trap, Trap]
    assert [line[each.start : each.end] for each in found[1:]] == [TRAP, TRAP]


def test_a_repeated_message_counts_so_often_but_not_what_is_before_it() -> None:
    line = TRAP + b" message repeated 3 times: [ " + TRAP + b"]"
    assert [each.count for each in message.find(line)] == [1, 3]
    assert message.find(b"message repeated 3 times: [ x]") == []


def test_the_last_option_counts() -> None:
    line = b"Command line: split_lock_detect=fatal split_lock_detect=off xsplit_lock_detect=warn"
    (found,) = message.find(line)
    assert found.message == Option("off")
    (found,) = message.find(b"Command line: a split_lock_detect=warn nosplit_lock_mitigate")
    assert found.message == Option("warn", mitigate=True)


def test_the_text_of_a_mode_ends_at_the_end_of_its_field() -> None:
    (found,) = message.find(HEAD + b'#DB: setting system wide bus lock rate limit to 007/sec\\n" x')
    assert found.message == Mode("ratelimit:7", "#DB: setting system wide bus lock rate limit to 007/sec")
    (found,) = message.find(HEAD + b"disabled".ljust(300, b"x"))
    assert found.message == Mode("off", "disabled".ljust(199, "x"))


@pytest.mark.parametrize(
    ("function", "caller", "kind", "origin"),
    [
        ("split_lock_warn", "handle_guest_split_lock", "split-lock-call", "guest"),
        ("split_lock_warn", "other", "split-lock-call", ""),
        ("handle_user_split_lock", "other", "split-lock-call", "user"),
        ("handle_bus_lock", "other", "bus-lock-call", "user"),
    ],
)
def test_whose_a_call_is(function: str, caller: str, kind: str, origin: str) -> None:
    line = f"  a b-7  [000] 1.000000: {function} <-{caller}".encode()
    assert message.find_call(line) == (b"1.000000", Trap(kind, b"a b", 7, origin, None))


def test_other_functions_are_no_calls() -> None:
    assert message.find_call(b"a-7 [000] 1.000000: schedule <-split_lock_warn") is None
