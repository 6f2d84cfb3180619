"""The records of log shippers and of the journal: which of their fields are time, host, boot and text."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sldtrace.kernlog import prefix
from sldtrace.kernlog.prefix import KERNEL, NO_TIME, Stamp

JOURNAL, OTHER = "journalctl -o json", "other JSON"
_NS_END = 1 << 63
_TEXT = 256
_NESTED = 4  # JSON in strings of JSON
_NEEDLE = re.compile(rb"split|bus_lock|Linux version |Hypervisor detected|lock trap|[Cc]ommand line")

# By name, or by the names of nested objects with a dot between them; the better one first. Journal fields
# (systemd.journal-fields), Elastic Common Schema, Vector, Fluent Bit, Loki, GELF, Splunk, Google Cloud.
_HOST = (
    "_HOSTNAME", "host.hostname", "host.name", "hostname", "host", "HOSTNAME", "nodename", "node_name",
    "kubernetes.node_name", "kubernetes.host", "labels.hostname", "labels.host", "labels.nodename",
    "labels.node_name", "labels.instance", "stream.hostname", "stream.host", "stream.nodename",
    "stream.node_name", "stream.instance", "metric.host", "fields.host", "agent.hostname", "beat.hostname",
    "log.syslog.hostname", "instance", "node",
)  # fmt: skip
_WALL = (
    "__REALTIME_TIMESTAMP", "@timestamp", "timestamp", "_time", "time", "ts", "date", "datetime", "eventTime",
    "receiveTimestamp", "_SOURCE_REALTIME_TIMESTAMP",
)  # fmt: skip
_BOOT_US = ("_SOURCE_MONOTONIC_TIMESTAMP", "_SOURCE_BOOTTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP")
_BOOT_ID = (
    "_BOOT_ID", "journald.host.boot_id", "boot_id", "labels._BOOT_ID", "labels.boot_id", "stream.boot_id",
    "stream._BOOT_ID", "host.boot.id",
)  # fmt: skip
_TRANSPORT = (
    "_TRANSPORT", "systemd.transport", "transport", "labels.transport", "stream.transport",
    "labels._TRANSPORT",
)  # fmt: skip
_PROGRAM = (
    "SYSLOG_IDENTIFIER", "log.syslog.appname", "syslog.appname", "syslog_identifier", "appname", "app_name",
    "program", "ident", "programname", "labels.syslog_identifier", "stream.syslog_identifier",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One record: its texts that may have messages, when, where, and whether the kernel wrote it."""

    texts: tuple[bytes, ...]
    stamp: Stamp = NO_TIME
    host: str = ""
    boot: str = ""
    kernel: bool = True
    form: str = ""


@dataclass
class _Found:
    # A record whose texts are being collected, and the objects around them, the outermost first.
    time: Stamp | None = None
    chain: tuple[Mapping[str, Any], ...] = ()
    texts: list[bytes] = field(default_factory=list)


def of_json(value: Any, form: str) -> Iterator[Record]:
    """The records in a JSON value whose texts may have a message; one for each element of a list.

    Raises RecursionError if it is nested too deeply.
    """
    walk = _Walk()
    walk.value(value, walk.record(None), (), 0)
    for found in walk.records:
        if found.texts:
            yield _record(found, form)


def of_journal(given: Mapping[str, Any], form: str) -> Record:
    """The record of one journal entry of text formats, from its fields."""
    text = given.get("MESSAGE", b"")
    return _record(_Found(chain=(given,), texts=[text] if isinstance(text, bytes) else []), form)


def kind(value: Any) -> str:
    """What wrote a JSON document, by its fields."""
    if isinstance(value, dict):
        keys = value.keys()
        for names, what in (
            ({"MESSAGE", "__CURSOR"}, JOURNAL),
            ({"MESSAGE", "__REALTIME_TIMESTAMP"}, JOURNAL),
            ({"dmesg"}, "dmesg --json"),
            ({"pri", "msg"}, "dmesg --json"),
            ({"log", "stream"}, "JSON of Docker"),
            ({"line", "labels"}, "JSON of Loki"),
            ({"resultType"}, "JSON of Loki"),
            ({"data", "status"}, "JSON of Loki"),
            ({"@timestamp"}, "JSON of Elastic"),
            ({"_source"}, "JSON of Elastic"),
            ({"hits"}, "JSON of Elastic"),
            ({"source_type"}, "JSON of Vector"),
            ({"short_message"}, "GELF"),
        ):
            if names <= keys:
                return what
    return OTHER


class _Walk:
    # An element of a list is a record of its own, unless it is a text; what is nested in objects is not.
    def __init__(self) -> None:
        self.records: list[_Found] = []

    def record(self, time: Stamp | None) -> _Found:
        self.records.append(_Found(time))
        return self.records[-1]

    def value(self, value: Any, record: _Found, chain: tuple[Mapping[str, Any], ...], nested: int) -> None:
        if isinstance(value, dict):
            for each in value.values():
                self.value(each, record, (*chain, value), nested)
        elif isinstance(value, list) and value:
            if all(isinstance(each, int) for each in value):
                self._add(_bytes(value), record, chain)
                return
            time = _lead(value)
            for each in value:
                is_text = isinstance(each, str) or (isinstance(each, list) and all(map(_is_int, each)))
                own = record if is_text and not time else self.record(time or record.time)
                self.value(each, own, chain, nested)
        elif isinstance(value, str):
            self._text(value, record, chain, nested)

    def _text(self, text: str, record: _Found, chain: tuple[Mapping[str, Any], ...], nested: int) -> None:
        if text.lstrip()[:1] in ("{", "[") and nested < _NESTED:
            try:
                inner = json.loads(text)
            except ValueError:
                inner = None
            if isinstance(inner, dict | list):
                self.value(inner, record, chain, nested + 1)
                return
        self._add(text.encode("utf-8", "backslashreplace"), record, chain)

    def _add(self, text: bytes, record: _Found, chain: tuple[Mapping[str, Any], ...]) -> None:
        if not _NEEDLE.search(text) or text in record.texts:
            return
        record.texts.append(text)
        if len(chain) > len(record.chain):
            record.chain = chain


def _is_int(value: Any) -> bool:
    return isinstance(value, int)


# The time of [time, text], [[time, {}], {fields}]: Loki, Fluent Bit.
def _lead(value: list[Any]) -> Stamp | None:
    first = value[0]
    if isinstance(first, list) and first:
        first = first[0]
    return _epoch(first) if len(value) > 1 and isinstance(first, str | int | float) else None


def _record(found: _Found, form: str) -> Record:
    chain = found.chain[::-1]
    wall = _first(chain, _WALL)
    stamp = found.time or _wall(wall)
    boot_ns = _microseconds(_first(chain, _BOOT_US))
    for fields in chain:
        if isinstance(fields.get("msg"), str):
            if "pri" in fields and isinstance(fields.get("time"), int | float):  # dmesg --json
                boot_ns, stamp = _since_boot(fields["time"]), None
            if isinstance(fields.get("sec"), int) and isinstance(fields.get("usec"), int):  # Fluent Bit, kmsg
                boot_ns = fields["sec"] * 10**9 + fields["usec"] * 1000
    if boot_ns is not None and not 0 <= boot_ns < _NS_END:
        boot_ns = None
    text = "" if boot_ns is None else f"{boot_ns / 1e9:.6f}"
    when = Stamp(stamp.text, stamp.wall_ns, stamp.local, boot_ns) if stamp else Stamp(text, boot_ns=boot_ns)
    return Record(
        tuple(found.texts), when, _name(_first(chain, _HOST)), _name(_first(chain, _BOOT_ID)),
        _by_kernel(chain), form,
    )  # fmt: skip


def _by_kernel(chain: tuple[Mapping[str, Any], ...]) -> bool:
    if transport := _name(_first(chain, _TRANSPORT)):
        return transport == "kernel"
    program = _name(_first(chain, _PROGRAM))
    return not program or program in KERNEL


def _first(chain: tuple[Mapping[str, Any], ...], names: tuple[str, ...]) -> Any:
    for fields in chain:
        for name in names:
            value = fields.get(name)
            if value is None and "." in name:
                value = fields
                for part in name.split("."):
                    value = value.get(part) if isinstance(value, Mapping) else None
            if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
                return value
            # Journal: a field that occurs several times.
            if isinstance(value, list) and value and isinstance(value[0], str):
                return value[0]
    return None


def _name(value: Any) -> str:
    return value[:_TEXT] if isinstance(value, str) else ""


def _wall(value: Any) -> Stamp | None:
    if isinstance(value, str) and (dated := prefix.iso(value)):
        return dated
    return _epoch(value) or (Stamp(value[:64]) if isinstance(value, str) and value else None)


# Seconds, milliseconds, microseconds or nanoseconds since 1970, by the size of the number.
def _epoch(value: Any) -> Stamp | None:
    text = value if isinstance(value, str) else repr(value)
    found = re.fullmatch(r"(\d{9,19})(?:\.(\d{1,9})\d*)?", text, re.ASCII)
    if not found:
        return None
    whole, digits = int(found[1]), len(found[1])
    unit = 10**9 if digits <= 10 else 10**6 if digits <= 13 else 1000 if digits <= 16 else 1
    ns = whole * unit + prefix.fraction_ns(found[2] or "0") * unit // 10**9
    return Stamp(text[:64], wall_ns=ns) if ns < _NS_END else None


def _microseconds(value: Any) -> int | None:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 19:
        return None
    return int(value) * 1000


def _since_boot(seconds: float) -> int | None:
    return round(seconds * 1e6) * 1000 if 0 <= seconds < 1e10 else None


def _bytes(value: list[int]) -> bytes:
    try:
        return bytes(value)
    except ValueError:
        return b""
