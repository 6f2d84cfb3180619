"""Which fields of a shipper's record are time, host, boot and text."""

import json
from typing import Any

import pytest

from sldtrace.kernlog import fields
from sldtrace.kernlog.entry import Entry
from sldtrace.kernlog.prefix import Stamp
from tests.kernlog.read import entries

MESSAGE = "x86/split lock detection: #AC: CPU 0/KVM/5677 took a split_lock trap at address: 0x7c40"


def all_of(value: Any) -> list[Entry]:
    return entries(json.dumps(value).encode())


def one(**others: Any) -> Entry:
    (found,) = all_of({"message": MESSAGE, **others})
    return found


@pytest.mark.parametrize(
    ("number", "ns"),
    [
        (123_456_789, 123_456_789 * 10**9),
        (1_767_225_600, 1_767_225_600 * 10**9),
        (1_767_225_600.25, 1_767_225_600_250_000_000),
        (17_672_256_000, 17_672_256_000 * 10**6),
        (1_767_225_600_123, 1_767_225_600_123 * 10**6),
        ("1767225600123.5", 1_767_225_600_123_500_000),
        (17_672_256_001_234, 17_672_256_001_234 * 10**3),
        (1_767_225_600_123_456, 1_767_225_600_123_456 * 10**3),
        (17_672_256_001_234_567, 17_672_256_001_234_567),
        (1_767_225_600_123_456_789, 1_767_225_600_123_456_789),
        ((1 << 63) - 1, (1 << 63) - 1),
    ],
)
def test_the_unit_of_a_time_follows_from_its_size(number: Any, ns: int) -> None:
    assert one(timestamp=number).stamp == Stamp(str(number), wall_ns=ns)


@pytest.mark.parametrize("number", [12_345_678, 1 << 63, -1_767_225_600, True, None, [], {}])
def test_a_number_that_is_no_time(number: Any) -> None:
    assert one(timestamp=number).stamp.wall_ns is None


def test_a_time_that_is_only_a_text_is_kept_so_far() -> None:
    assert one(timestamp="x" * 65).stamp == Stamp("x" * 64)
    assert one(timestamp="1767225600." + "1" * 60).stamp.text == "1767225600." + "1" * 53
    assert one(timestamp=0).stamp == Stamp()


def test_the_better_name_of_a_time_comes_first() -> None:
    assert one(date="later", timestamp="", time="first").stamp.text == "first"


def test_names_of_nested_objects() -> None:
    assert one(host={"name": "h"}).host == "h"
    assert one(kubernetes={"node_name": "n"}).host == "n"
    assert one(kubernetes="n").host == ""
    assert one(_HOSTNAME=["a", "b"]).host == "a"
    assert one(_HOSTNAME=[1], hostname="h").host == "h"
    assert one(host="h" * 257).host == "h" * 256


def test_fields_of_the_object_that_has_the_text_count_most() -> None:
    (found,) = all_of({"host": "outer", "boot_id": "b1", "inner": {"host": "h", "message": MESSAGE}})
    assert (found.host, found.boot) == ("h", "b1")


def test_fields_are_those_of_the_innermost_text() -> None:
    (found,) = all_of({"message": MESSAGE, "inner": {"host": "h", "log": f"{MESSAGE}\n"}, "last": MESSAGE})
    assert found.host == "h"


def kmsg(**others: Any) -> Stamp:
    (found,) = all_of({"msg": MESSAGE, **others})
    return found.stamp


def test_the_time_of_dmesg_is_since_boot() -> None:
    assert kmsg(pri=4, time=12.5) == Stamp("12.500000", boot_ns=12_500_000_000)
    assert kmsg(pri=4, time=0) == Stamp("0.000000", boot_ns=0)
    assert kmsg(pri=4, time=-1) == Stamp()
    assert kmsg(pri=4, time=9_999_999_999) == Stamp()  # more than 63 bits of ns
    assert kmsg(pri=4, time="1767225600") == Stamp("1767225600", wall_ns=1_767_225_600 * 10**9)
    assert kmsg(time=1_767_225_600) == Stamp("1767225600", wall_ns=1_767_225_600 * 10**9)


def test_the_time_of_fluent_bits_kmsg_is_since_boot() -> None:
    assert kmsg(sec=12, usec=34) == Stamp("12.000034", boot_ns=12_000_034_000)
    assert kmsg(sec=12) == Stamp()
    assert kmsg(usec=12) == Stamp()
    assert one(sec=12, usec=34).stamp == Stamp()


@pytest.mark.parametrize(
    ("text", "boot_ns"),
    [("180886150", 180_886_150_000), ("0", 0), ("9223372036854775", 9_223_372_036_854_775_000),
     ("9223372036854776", None), ("1" * 19, None), ("1" * 20, None), ("-1", None), ("\u0661", None),
     (180886150, None)],
)  # fmt: skip
def test_microseconds_since_boot(text: Any, boot_ns: int | None) -> None:
    assert one(_SOURCE_MONOTONIC_TIMESTAMP=text).stamp.boot_ns == boot_ns


def test_a_line_that_names_another_program() -> None:
    assert one(_TRANSPORT="kernel", SYSLOG_IDENTIFIER="x").kernel
    assert one(SYSLOG_IDENTIFIER="kernel").kernel
    assert one(program="").kernel
    assert not one(program="mallory").kernel
    assert not one(_TRANSPORT="stdout", SYSLOG_IDENTIFIER="kernel").kernel


@pytest.mark.parametrize(("times", "found"), [(1, 1), (4, 1), (5, 0)])
def test_json_in_a_text_of_json_is_read_so_deep(times: int, found: int) -> None:
    text = json.dumps({"host": "h", "log": MESSAGE})
    for _ in range(times):
        text = json.dumps({"log": text})
    assert [each.host for each in entries(text.encode()) if each.host] == ["h"] * found


def test_what_looks_like_json_in_a_text_is_text() -> None:
    assert one(message="{" + MESSAGE).message == one().message
    assert [each.host for each in all_of({"host": "h", "log": f"[{json.dumps(MESSAGE)}]"})] == ["h"]


def test_each_element_of_a_list_is_a_record_unless_it_is_a_text() -> None:
    assert [each.host for each in all_of([{"host": name, "log": MESSAGE} for name in "ab"])] == ["a", "b"]
    assert [each.host for each in all_of({"host": "h", "log": [MESSAGE, f"{MESSAGE} "]})] == ["h"]
    assert [each.host for each in all_of({"host": "h", "MESSAGE": ["x", list(MESSAGE.encode())]})] == ["h"]


def test_a_time_that_leads_a_list() -> None:
    wall_ns = 1_767_225_600 * 10**9
    lines = {"streams": [{"stream": {"host": "h"}, "values": [[str(wall_ns), MESSAGE], ["1", "x"]]}]}
    assert [(each.host, each.stamp.wall_ns) for each in all_of(lines)] == [("h", wall_ns)]
    assert [each.stamp.wall_ns for each in all_of([[1_767_225_600, {}], {"log": MESSAGE}])] == [wall_ns]
    assert [each.stamp.wall_ns for each in all_of([[[1_767_225_600, {}], {"log": MESSAGE}]])] == [wall_ns]
    assert [each.stamp.wall_ns for each in all_of([[f"[ 1.0] {MESSAGE}"]])] == [None]


def test_numbers_that_are_no_bytes() -> None:
    assert all_of({"host": "h", "MESSAGE": [1, 256], "log": MESSAGE})[0].host == "h"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"MESSAGE": "", "__CURSOR": ""}, fields.JOURNAL),
        ({"MESSAGE": "", "__REALTIME_TIMESTAMP": ""}, fields.JOURNAL),
        ({"MESSAGE": ""}, fields.OTHER),
        ({"pri": 1, "msg": ""}, "dmesg --json"),
        ({"log": "", "stream": ""}, "JSON of Docker"),
        ({"log": ""}, fields.OTHER),
        ([], fields.OTHER),
    ],
)
def test_what_wrote_a_document(value: Any, kind: str) -> None:
    assert fields.kind(value) == kind
