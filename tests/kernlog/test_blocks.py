"""Records of several lines: which lines around one belong to its record."""

import json

import pytest

from sldtrace.kernlog.entry import Entry
from tests.kernlog.read import entries, survey

MESSAGE = "x86/split lock detection: #AC: CPU 0/KVM/5677 took a split_lock trap at address: 0x7c40"
CURSOR = "Sat 2026-06-13 14:27:19 UTC [s=aa;i=1;b={};m=5f5e100;t=65210ca7ac400;x=1]"


def entry(*lines: str) -> Entry:
    (found,) = entries("\n".join(lines).encode() + b"\n")
    return found


def test_fields_of_an_export_come_before_and_after_the_message() -> None:
    others = ["__MONOTONIC_TIMESTAMP=1", "_HOSTNAME=earlier", ""]
    found = entry(*others, "_BOOT_ID=b1", f"MESSAGE={MESSAGE}", "_HOSTNAME=h", " ", "_TRANSPORT=stdout")
    assert (found.host, found.boot, found.kernel, found.stamp.boot_ns) == ("h", "b1", True, None)


def test_the_first_of_two_equal_fields_counts() -> None:
    assert entry("_HOSTNAME=a", "_HOSTNAME=b", f"MESSAGE={MESSAGE}", "_HOSTNAME=c").host == "b"


def test_a_line_of_an_export_that_is_no_field_is_passed_over() -> None:
    assert entry("_HOSTNAME=h", "no field", f"MESSAGE={MESSAGE}").host == "h"


def test_a_binary_message_of_an_export() -> None:
    size = len(MESSAGE).to_bytes(8, "little")
    (found,) = entries(b"_HOSTNAME=h\nMESSAGE\n" + size + MESSAGE.encode() + b"\n_BOOT_ID=b1\n")
    assert (found.host, found.boot, found.form) == ("h", "b1", "journalctl -o export")


def test_fields_of_a_verbose_entry_come_before_and_after_the_message() -> None:
    before = [CURSOR.format("b0"), "    _HOSTNAME=other", CURSOR.format("b1"), "    _TRANSPORT=kernel"]
    after = ["    _HOSTNAME=h", CURSOR.format("b2"), "    _SOURCE_MONOTONIC_TIMESTAMP=1"]
    found = entry(*before, f"    MESSAGE={MESSAGE}", *after)
    assert (found.host, found.boot, found.kernel) == ("h", "b1", True)
    assert found.stamp.boot_ns == 10**11
    assert found.form == "journalctl -o verbose"


def test_a_verbose_entry_without_its_first_line() -> None:
    found = entry("x", f"    MESSAGE={MESSAGE}", "    _HOSTNAME=h")
    assert (found.host, found.boot, found.stamp.boot_ns) == ("h", "", None)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_json_over_several_lines_is_one_record(separators: tuple[str, str]) -> None:
    record = {"host": {"name": "h"}, "log": {"lines": ["x", MESSAGE]}, "boot_id": "b1", "tags": ["y"]}
    text = json.dumps([{"message": "other"}, record], indent=2, separators=separators)
    (found,) = entries(text.encode())
    assert (found.host, found.boot, found.form) == ("h", "b1", "JSON over several lines")


def test_blank_lines_in_json_do_not_matter() -> None:
    assert entry("{", "", f'  "message": "{MESSAGE}",', "", '  "host": "h"', "}").host == "h"


def test_each_object_of_a_list_over_several_lines_has_its_own_host() -> None:
    text = json.dumps([{"host": name, "message": MESSAGE} for name in "ab"], indent=1)
    assert [each.host for each in entries(text.encode())] == ["a", "b"]


def test_lines_of_a_record_are_counted_once() -> None:
    text = json.dumps({"message": MESSAGE, "event": {"original": MESSAGE}}, indent=1)
    found = survey(f"first\n{text}\n{MESSAGE}\n".encode())
    assert (found.matched["trap"], found.matched_lines, found.tally.lines) == (2, 3, 8)


def test_json_that_is_cut_is_no_record() -> None:
    found = entry("{", f'  "message": "{MESSAGE}",', '  "host": {')
    assert (found.host, found.form) == ("", "text without a time")


@pytest.mark.parametrize(("levels", "host"), [(7, "h"), (8, "")])
def test_of_objects_in_objects_eight_are_looked_at(levels: int, host: str) -> None:
    record: object = {"message": MESSAGE}
    for _ in range(levels):
        record = {"fields": record}
    assert isinstance(record, dict)
    assert entry(*json.dumps({**record, "host": "h"}, indent=1).splitlines()).host == host


@pytest.mark.parametrize(("lines", "host"), [(1999, "h"), (2000, "")])
@pytest.mark.parametrize("where", ["before", "after"])
def test_of_long_records_the_near_lines_are_looked_at(where: str, lines: int, host: str) -> None:
    record, more = [f"MESSAGE={MESSAGE}"], ["X=1"] * lines
    record = ["_HOSTNAME=h", *more, *record] if where == "before" else [*record, *more, "_HOSTNAME=h"]
    assert entry(*record).host == host
