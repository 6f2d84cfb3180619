"""Parts of a message in several lines: which of them belong together."""

import pytest

from sldtrace.kernlog.entry import Entry
from sldtrace.kernlog.message import Mode, Trap, Unknown
from tests.kernlog.read import entries, survey

HEAD = "x86/split lock detection: "
MESSAGE = HEAD + "#AC: CPU 1/KVM/65886 took a split_lock trap at address: "


def only(text: str) -> Entry:
    (found,) = entries(text.encode())
    return found


def address(text: str) -> int | None:
    found = only(text).message
    assert isinstance(found, Trap)
    return found.address


def test_an_address_goes_on_in_one_line_only() -> None:
    assert address(f"{MESSAGE}0x7c\n40\nbeef\n") == 0x7C40
    assert address(f"{MESSAGE}\n0x7c40\nbeef\n") == 0x7C40


def test_an_address_goes_on_with_digits_only() -> None:
    assert address(f"{MESSAGE}0x7c\nface it\n") == 0x7C
    assert address(f"{MESSAGE}0x7c\n[    2.000000] 40\n") == 0x7C


@pytest.mark.parametrize(("lines", "whole"), [(0, True), (2, True), (3, False)])
def test_the_rest_is_looked_for_in_three_lines(lines: int, whole: bool) -> None:
    others = "[    2.000000] usb 1-1: new device\n" * lines
    assert (address(f"[    1.000000] {MESSAGE}\n{others}0x7c40\n") == 0x7C40) is whole


@pytest.mark.parametrize(("lines", "whole"), [(0, True), (2, True), (3, False)])
def test_the_beginning_is_looked_for_in_three_lines(lines: int, whole: bool) -> None:
    others = "[    2.000000] usb 1-1: new device\n" * lines
    text = f"[    1.000000] x86/spl\n{others}{MESSAGE.removeprefix('x86/spl')}0x7c40\n"
    assert (only(text).stamp.boot_ns == 10**9) is whole


@pytest.mark.parametrize(("begin", "whole"), [("x86/", False), ("x86/s", True), (HEAD.rstrip(), True)])
def test_of_the_beginning_five_bytes_have_to_be_left(begin: str, whole: bool) -> None:
    rest = f"{MESSAGE}0x7c40".removeprefix(begin).lstrip()
    assert (only(f"[    1.000000] {begin}\n{rest}\n").stamp.boot_ns == 10**9) is whole


def test_a_beginning_without_a_time() -> None:
    text = f"{HEAD}#AC: crashing the kernel on kernel split_locks and warning on user-space split_locks"
    found = only(f"{text[:7]}\n{text[7:]}\n").message
    assert isinstance(found, Mode)
    assert found.name == "warn"


def test_a_beginning_that_goes_on_itself_is_of_another_message() -> None:
    rest = f"{MESSAGE.removeprefix('x86/spl')}0x7c40"
    assert only(f"[    1.000000] x86/spl other\n{rest}\n").stamp.boot_ns is None
    assert only(f"[    1.000000] x86/spl[    2.000000] other\n{rest}\n").stamp.boot_ns == 10**9


def test_lines_of_the_rest_are_counted_as_lines_of_the_message() -> None:
    found = survey(
        f"{HEAD}#AC: CPU 1/KVM/7 took\na split_lock trap at\naddress: 0x7c40\nsplit_lock\n".encode()
    )
    assert (found.matched["trap"], found.matched_lines, found.other) == (1, 2, 2)


@pytest.mark.parametrize(
    ("wrapped", "comm"),
    [("CPU\n1/KVM", b"CPU 1/KVM"), ("CPU 1\n/KVM", b"CPU 1/KVM"), ("my\nname", b"my name")],
)
def test_where_a_name_is_wrapped_one_that_vmms_give_decides(wrapped: str, comm: bytes) -> None:
    found = only(f"{HEAD}#AC: {wrapped}/7 took a split_lock trap at address: 0x7c40\n").message
    assert isinstance(found, Trap)
    assert found.comm == comm


@pytest.mark.parametrize(("length", "whole"), [(15, True), (16, False)])
def test_a_name_is_not_longer_than_the_kernels(length: int, whole: bool) -> None:
    name = "a" * (length - 3)
    text = f"{HEAD}#AC: {name}\n\nbbb/7 took a split_lock trap at address: 0x7c40\n"
    assert [isinstance(each.message, Unknown) for each in entries(text.encode())] == (
        [False] if whole else [True, True]
    )
