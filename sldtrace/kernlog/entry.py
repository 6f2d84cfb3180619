"""Parses one line of a log, in any of the formats that the kernel's messages are stored in."""

import json
from dataclasses import dataclass
from typing import Any

from sldtrace.kernlog import message, prefix
from sldtrace.kernlog.prefix import Stamp

_NS_END = 1 << 63


@dataclass(frozen=True, slots=True)
class Entry:
    """message, when, where; boot: the journal's id of the boot, empty where there is none.

    host and boot are not escaped. kernel: False if another program wrote the line.
    """

    message: message.Message
    stamp: Stamp
    host: str = ""
    boot: str = ""
    kernel: bool = True


def parse(line: bytes) -> Entry | None:
    """The line's message about split locks or about the boot; None if it has none. Never raises."""
    if line.lstrip(b" \x1e").startswith((b"{", b"data: {")):
        fields = _journal(line)
        if fields is not None:
            return _from_journal(fields)
    if b"<-" in line and (call := message.find_call(line)):
        time, trap = call
        seconds, fraction = time.decode().split(".")
        boot_ns = int(seconds) * 10**9 + prefix.fraction_ns(fraction)
        return Entry(trap, Stamp(time.decode(), boot_ns=boot_ns))
    found = message.find(line)
    if not found:
        return None
    before = prefix.parse(line[: found[0]])
    return Entry(found[1], before.stamp, before.host, kernel=before.kernel)


# systemd.io/JOURNAL_EXPORT_FORMATS: fields are strings, arrays of bytes where they are not printable,
# arrays of either if a field occurs more than once, or null if they are too large.
def _journal(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line[line.index(b"{") :])
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and "MESSAGE" in fields else None


def _from_journal(fields: dict[str, Any]) -> Entry | None:
    for text in _bytes(fields["MESSAGE"]).split(b"\n"):
        if found := message.find(text):
            break
    else:
        return None
    wall, boot = _ns(fields, "__REALTIME_TIMESTAMP"), _ns(fields, "_SOURCE_MONOTONIC_TIMESTAMP")
    boot = _ns(fields, "__MONOTONIC_TIMESTAMP") if boot is None else boot
    return Entry(
        found[1],
        Stamp("" if wall is None else str(fields["__REALTIME_TIMESTAMP"]), wall, boot_ns=boot),
        _text(fields, "_HOSTNAME"),
        _text(fields, "_BOOT_ID"),
        kernel=_text(fields, "_TRANSPORT") in ("kernel", ""),
    )


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace")
    if not isinstance(value, list):
        return b""
    try:
        return bytes(value)
    except (TypeError, ValueError):
        return b"\n".join(_bytes(each) for each in value if isinstance(each, str | list) and each != value)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value[:256] if isinstance(value, str) else ""


def _ns(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 19:
        return None
    ns = int(value) * 1000
    return ns if ns < _NS_END else None
