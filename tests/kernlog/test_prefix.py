"""When, where and who: computed only where the line leaves no choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sldtrace.kernlog.prefix import Prefix, Stamp, parse

S = 10**9
WALL = 1_781_360_839 * S + 694_458_000  # 2026-06-13T14:27:19.694458Z


@pytest.mark.parametrize(
    ("raw", "stamp"),
    [
        ("", Stamp()),
        ("something else ", Stamp()),
        ("[  180.886150] ", Stamp("180.886150", boot_ns=180_886_150_000)),
        ("[14042.801817] ", Stamp("14042.801817", boot_ns=14_042_801_817_000)),
        ("[  180,886150] ", Stamp("180,886150", boot_ns=180_886_150_000)),
        ("[  180.886150][ T5677] ", Stamp("180.886150", boot_ns=180_886_150_000)),
        ("[  180.886150] [   C3] ", Stamp("180.886150", boot_ns=180_886_150_000)),
        ("<4>[  180.886150] ", Stamp("180.886150", boot_ns=180_886_150_000)),
        ("kern  :warn  : [  180.886150] ", Stamp("180.886150", boot_ns=180_886_150_000)),
        (
            "[  180.886150 <    0.118315>] ",
            Stamp("180.886150 <    0.118315>", boot_ns=180_886_150_000),
        ),
        ("4,1234,180886150,-,caller=T5677;", Stamp("180.886150", boot_ns=180_886_150_000)),
        ("[ +19,619040] ", Stamp("+19,619040")),
        ("[  +0.118315] ", Stamp("+0.118315")),
        ("[Feb13 14:43] ", Stamp("Feb13 14:43")),
        ("[févr.13 14:43] ", Stamp("févr.13 14:43")),
        ("[Wed Aug 25 21:18:32 2021] ", Stamp("Wed Aug 25 21:18:32 2021", local="2021-08-25T21:18:32")),
        ("[Wed Feb 31 21:18:32 2021] ", Stamp("Wed Feb 31 21:18:32 2021")),
        ("[Mi Mär 25 21:18:32 2021] ", Stamp("Mi Mär 25 21:18:32 2021")),
        ("2026-06-13T15:27:19,694458+01:00 ", Stamp("2026-06-13T15:27:19,694458+01:00", WALL)),
        ("2026-06-13T14:27:19.694458Z ", Stamp("2026-06-13T14:27:19.694458Z", WALL)),
        ("2026-06-13 14:27:19.694458 UTC ", Stamp("2026-06-13 14:27:19.694458 UTC", WALL)),
        ("2026-06-13T20:12:19.694458+0545 ", Stamp("2026-06-13T20:12:19.694458+0545", WALL)),
        ("2026-06-13T10:57:19.694458-03:30 ", Stamp("2026-06-13T10:57:19.694458-03:30", WALL)),
        ("2026-06-13T15:27:19 ", Stamp("2026-06-13T15:27:19", local="2026-06-13T15:27:19")),
        ("2026-13-13T15:27:19+01:00 ", Stamp("2026-13-13T15:27:19+01:00")),
        ("2026-06-13T15:27:60Z ", Stamp("2026-06-13T15:27:60Z")),
        ("9999-12-31T23:59:59-12:00 ", Stamp("9999-12-31T23:59:59-12:00")),
        ("1781360839.694458 ", Stamp("1781360839.694458", WALL)),
        ("Zeit: 24.09. 05:17:59 ", Stamp("Zeit: 24.09. 05:17:59")),
        ("1970-01-01T00:00:00Z ", Stamp("1970-01-01T00:00:00Z", 0)),
        ("1969-12-31T23:59:59Z ", Stamp("1969-12-31T23:59:59Z")),
        ("2200-12-31T23:59:59Z ", Stamp("2200-12-31T23:59:59Z", 7_289_654_399 * S)),
        ("2201-01-01T00:00:00Z ", Stamp("2201-01-01T00:00:00Z")),
        ("Thu Jan 13 10:11:12 2022 ", Stamp("Thu Jan 13 10:11:12 2022", local="2022-01-13T10:11:12")),
        ("[Thu Foo 13 10:11:12 2022] ", Stamp("Thu Foo 13 10:11:12 2022")),
        ("a b c d e f g 10:11:12 ", Stamp("c d e f g 10:11:12")),
        ("- Mar 26 10:11:12 ", Stamp("Mar 26 10:11:12")),
        ("123456789.123 ", Stamp("123456789.123", 123_456_789_123_000_000)),
        ("[    1.5][    2.5] ", Stamp("2.5", boot_ns=2_500_000_000)),
        ("x" * 300 + "[    1.5] " + "x" * 300, Stamp()),
        ("x" * 600 + "[    1.5] ", Stamp("1.5", boot_ns=1_500_000_000)),
    ],
)
def test_when(raw: str, stamp: Stamp) -> None:
    assert parse(raw.encode()) == Prefix(stamp)


@pytest.mark.parametrize(
    ("raw", "text", "host"),
    [
        ("Mar 26 11:13:52 calypso kernel: ", "Mar 26 11:13:52", "calypso"),
        ("Mar 26 11:13:52.123456 calypso kernel: ", "Mar 26 11:13:52.123456", "calypso"),
        ("Apr 13 12:28:25 diamond kernel: [T175479] ", "Apr 13 12:28:25", "diamond"),
        ("7月 27 10:48:59 neon kernel: ", "7月 27 10:48:59", "neon"),
        ("sept. 24 05:17:59 since kernel: ", "sept. 24 05:17:59", "since"),
        ("сен 24 05:17:59 хост kernel: ", "сен 24 05:17:59", "хост"),
        ("2026-06-13T15:27:19 calypso kernel: ", "2026-06-13T15:27:19", "calypso"),
        ("Wed 2021-08-25 21:18:32 CEST nas kernel: ", "2021-08-25 21:18:32", "nas"),
        ("<4>1 2026-06-13T15:27:19 calypso kernel - - - ", "2026-06-13T15:27:19", "calypso"),
        ("Jan  1 00:00:12 (none) kern.warn kernel: ", "Jan 1 00:00:12", "(none)"),
        ("Thu Jun 13 10:11:12 2024 kern.warn kernel: ", "Thu Jun 13 10:11:12 2024", ""),
        ("[  180.886150] calypso kernel: ", "180.886150", "calypso"),
        ("kern.log:Mar 26 11:13:52 calypso kernel: ", "Mar 26 11:13:52", "calypso"),
    ],
)
def test_where(raw: str, text: str, host: str) -> None:
    found = parse(raw.encode())
    assert (found.stamp.text, found.host, found.kernel) == (text, host, True)
    assert found.stamp.wall_ns is None  # no year, or no zone


@pytest.mark.parametrize(("length", "boot_ns"), [(384, 1234_500_000_000), (385, None)])
def test_only_of_a_long_prefix_the_middle_is_left_out(length: int, boot_ns: int | None) -> None:
    assert parse(("x" * 252 + "[1234.5] ").ljust(length).encode()).stamp.boot_ns == boot_ns


@pytest.mark.parametrize(
    ("raw", "host", "file"),
    [
        ("host1 kernel: ", "host1", ""),
        ("host1 mallory: ", "", ""),
        ("[    1.5] host1 mallory: ", "", ""),
        ("host1 kernel: [    1.5] ", "host1", ""),
        ("host1 mallory: [    1.5] ", "", ""),
        ("2026-06-13T15:27:19 host1 ", "host1", ""),
        ("2026-06-13T15:27:19 INFO ", "", ""),
        ("2026-06-13T15:27:19 kern.warn ", "", ""),
        ("2026-06-13T15:27:19 host1 WARN kernel: ", "host1", ""),
        ("[2026-06-13T15:27:19] host1 kernel: ", "host1", ""),
        ("kernel: [    1.5] ", "", ""),
        ("1.5: [    1.5] ", "", ""),
        ("node3: [    1.5] host1 kernel: ", "host1", ""),
        ("1.2: [    1.5] ", "", ""),
        ("out.1: [    1.5] ", "", "out.1"),
        ("> > node3: [    1.5] ", "node3", ""),
    ],
)
def test_which_name_is_that_of_a_host(raw: str, host: str, file: str) -> None:
    found = parse(raw.encode())
    assert (found.host, found.file, found.kernel) == (host, file, True)


def test_a_syslog_line_may_hold_the_time_since_boot_too() -> None:
    found = parse(b"Mar 26 11:13:52 calypso kernel: [   12.000345] ")
    assert found == Prefix(Stamp("Mar 26 11:13:52", boot_ns=12_000_345_000), "calypso")


@pytest.mark.parametrize(
    "raw",
    [
        "Mar 26 11:13:52 calypso mallory: ",
        "Mar 26 11:13:52 calypso mallory[123]: ",
        "Mar 26 11:13:52 calypso mallory: kernel: ",
        "2026-06-13T15:27:19+01:00 calypso sudo[77]:  root : COMMAND=/bin/grep ",
        "<13>1 2026-06-13T15:27:19Z calypso mallory 12 - - ",
    ],
)
def test_another_program_is_not_the_kernel(raw: str) -> None:
    assert not parse(raw.encode()).kernel


@given(st.binary(max_size=600) | st.text(max_size=600).map(lambda text: text.encode("utf-8", "replace")))
def test_anything_may_stand_there(raw: bytes) -> None:
    found = parse(raw)
    assert len(found.stamp.text) <= 80
    assert found.stamp.wall_ns is None or 0 <= found.stamp.wall_ns < 1 << 63
