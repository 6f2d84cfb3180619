"""Records of several lines around one of them: JSON laid out for people, journalctl -o export and verbose."""

import json
import re
from itertools import islice
from typing import Any

from sldtrace.kernlog import fields
from sldtrace.kernlog.fields import Record
from sldtrace.kernlog.stream import Line

_JSON_LINE = re.compile(rb'\s*"')
_FIELD = re.compile(rb"([A-Z0-9_]{1,64})=(.*)", re.DOTALL)
_CURSOR = re.compile(rb"\[s=[0-9a-f]+;i=[0-9a-f]+;b=([0-9a-f]+);m=([0-9a-f]+);t=([0-9a-f]+)")
_MOST_LINES = 2_000  # of one record, on each side
_LEVELS = 8

EXPORT, VERBOSE, PRETTY = "journalctl -o export", "journalctl -o verbose", "JSON over several lines"


def parse(line: Line) -> tuple[list[Record], int] | None:
    """The records that the line is part of, and the number of their last line.

    None if it is not part of one, or that is not complete.
    """
    text = line.text
    if text.startswith(b"MESSAGE=") or _is_binary(line):
        return [_export(line)], line.number
    if text.startswith(b"    MESSAGE="):
        return [_verbose(line)], line.number
    if _JSON_LINE.match(text):
        return _pretty(line)
    return None


# A field that is not text: its name alone, then its length in eight bytes before its value.
def _is_binary(line: Line) -> bool:
    return next((text for _, text in line.before()), b"") == b"MESSAGE"


def _export(line: Line) -> Record:
    found: dict[str, Any] = {}
    for lines in (line.before(), line.after()):
        for _, text in islice(lines, _MOST_LINES):
            if not text.strip():
                break
            _add(found, text)
    text = line.text.removeprefix(b"MESSAGE=")
    found["MESSAGE"] = text[8:] if text == line.text else text
    return fields.of_journal(found, EXPORT)


def _verbose(line: Line) -> Record:
    found: dict[str, Any] = {}
    for _, text in line.before():
        if not text.startswith(b" "):
            if cursor := _CURSOR.search(text):
                found["_BOOT_ID"] = cursor[1].decode()
                found["__MONOTONIC_TIMESTAMP"] = str(int(cursor[2], 16))
                found["__REALTIME_TIMESTAMP"] = str(int(cursor[3], 16))
            break
        _add(found, text.strip())
    for _, text in line.after():
        if not text.startswith(b" "):
            break
        _add(found, text.strip())
    found["MESSAGE"] = line.text.removeprefix(b"    MESSAGE=")
    return fields.of_journal(found, VERBOSE)


def _add(found: dict[str, Any], text: bytes) -> None:
    if field := _FIELD.fullmatch(text):
        found.setdefault(field[1].decode(), field[2].decode("utf-8", "replace"))


# The largest object around the line that is one record, by the indentation that everything which writes JSON
# for people gives it: a list of objects has several, one of texts belongs to the object that it is in.
def _pretty(line: Line) -> tuple[list[Record], int] | None:
    before = [text for _, text in islice(line.before(), _MOST_LINES)]
    after = [text for _, text in islice(line.after(), _MOST_LINES)]
    indent = _indent(line.text)
    found: tuple[Any, int] | None = None
    for _ in range(_LEVELS):
        first = next((at for at, text in enumerate(before) if _opens(text, indent)), None)
        last = next((at for at, text in enumerate(after) if _closes(text, indent)), None)
        if first is None or last is None:
            break
        inside = [*before[:first][::-1], line.text, *after[:last]]
        begin, end = before[first].rstrip()[-1:], after[last].strip()[:1]
        try:
            value = json.loads(b"\n".join([begin, *inside, end]))
        except (ValueError, RecursionError):
            break
        if isinstance(value, list) and found and isinstance(found[0], dict):
            break
        found = value, line.number + last + 1
        indent = _indent(before[first])
    if found is None:
        return None
    kind = fields.kind(found[0])
    form = {fields.JOURNAL: f"{fields.JOURNAL}-pretty", fields.OTHER: PRETTY}.get(kind, kind)
    return list(fields.of_json(found[0], form)), found[1]


def _opens(text: bytes, indent: int) -> bool:
    return _indent(text) < indent and text.rstrip().endswith((b"{", b"["))


def _closes(text: bytes, indent: int) -> bool:
    return _indent(text) < indent and text.lstrip().startswith((b"}", b"]"))


def _indent(text: bytes) -> int:
    return len(text) - len(text.lstrip())
