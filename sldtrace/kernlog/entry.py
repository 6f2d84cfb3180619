"""From the lines of a log to its entries, in any of the formats that the kernel's messages are stored in."""

import json
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from sldtrace.kernlog import blocks, colours, fields, mending, message, prefix
from sldtrace.kernlog.fields import Record
from sldtrace.kernlog.message import Oops, Unknown
from sldtrace.kernlog.prefix import NO_TIME, Stamp
from sldtrace.kernlog.stream import Line

TRACER, DAMAGED_JSON = "the function tracer", "damaged JSON as text"
_BLOB = re.compile(rb"\[[\d.]{1,8}[KMG]?B blob data\]")
_BOOT = re.compile(rb"-- (?:Boot ([0-9a-f]{32})|Reboot) --")
_LAST_REPEATED = re.compile(rb"last message repeated (\d{1,9}) times")
_JSON = re.compile(rb"^\x1e?\s*(?:data: )?[\[{]|\t\{|\[\[?\d{9,10}\.\d|^\[\d+\] \S+: \[")
_OOPS_LINES = 64  # after the oops line, within which its RIP line follows


@dataclass(frozen=True, slots=True)
class NewBoot:
    """journalctl's line between two boots; id: of the later one, if the line has it."""

    id: str


@dataclass(frozen=True, slots=True)
class Blob:
    """A message that journalctl shows as its length only, because it is not printable."""


@dataclass(frozen=True, slots=True)
class Entry:
    """message, when, where; boot: the journal's id of the boot, empty where there is none.

    host, file and boot are not escaped. kernel: False if another program wrote the line. count: how often the
    logger says that it was repeated. function: of the kernel, where an oops has one. form: how it was stored.
    """

    message: message.Message | NewBoot | Blob
    stamp: Stamp = NO_TIME
    host: str = ""
    boot: str = ""
    kernel: bool = True
    file: str = field(default="")
    count: int = field(default=1)
    function: str = field(default="")
    form: str = field(default="", compare=False)


class Parser:
    """Parses the candidates of one log, in order; keeps which lines were parts of earlier ones."""

    def __init__(self) -> None:
        self._taken: Container[int] = ()

    def entries(self, line: Line) -> tuple[list[Entry], bool]:
        """The line's messages about split locks or about the boot, and whether it is a part of one before.

        There are none if it has none. Never raises.
        """
        if line.number in self._taken:
            return [], True
        found = self._entries(line)
        if found and (times := _repeats(line)):
            found[-1] = replace(found[-1], count=found[-1].count + times)
        return [
            replace(each, function=_function(line)) if isinstance(each.message, Oops) else each
            for each in found
        ], False

    def _entries(self, line: Line) -> list[Entry]:
        records = _json(line) if _JSON.search(line.text[:256]) else None
        if records is None and (block := blocks.parse(line)):
            records, last = block
            self._taken = range(last + 1)
        if records is not None:
            return [each for record in records for each in _of_record(record)]
        if b"<-" in line.text and (call := message.find_call(line.text)):
            time, trap = call
            seconds, fraction = time.decode().split(".")
            boot_ns = int(seconds) * 10**9 + prefix.fraction_ns(fraction)
            return [Entry(trap, Stamp(time.decode(), boot_ns=boot_ns), form=TRACER)]
        if mark := _BOOT.match(line.text):
            return [Entry(NewBoot((mark[1] or b"").decode()))]
        found = self._text(line)
        if line.text.lstrip(b" \x1e").startswith(b"{"):
            return [replace(each, form=DAMAGED_JSON) for each in found]
        return found

    def _text(self, line: Line) -> list[Entry]:
        plain = colours.strip(line.text)
        # A name may have such bytes in it, so a line that is understood as it is has no colours.
        if plain != line.text and (line.text.startswith(b"\x1b") or not _understood(line.text)):
            line = replace(line, text=plain)
        if (whole := mending.forward(line)) is not None:
            text, taken = whole
            self._taken = taken
            return list(_of_text(text))
        found = list(_of_text(line.text))
        if not found or isinstance(found[0].message, Unknown) or not found[0].stamp.text:
            joined = mending.backward(line)
            if joined is not None and _understood(joined):
                return list(_of_text(joined))
        if not found and _BLOB.search(line.text):
            before = prefix.parse(line.text[: line.text.rfind(b"[")])
            if before.kernel and b"kernel: " in line.text:
                return [Entry(Blob(), before.stamp, before.host)]
        if not found and line.cut:
            return [Entry(Unknown(line.text[:200]))]
        return found


def parse(text: bytes) -> list[Entry]:
    """The entries of a single line, without its newline."""
    return Parser().entries(Line(1, text, False, text + b"\n", 0, len(text)))[0]


def _understood(text: bytes) -> bool:
    found = message.find(text)
    return bool(found) and not any(isinstance(each.message, Unknown) for each in found)


def _of_text(text: bytes) -> Iterator[Entry]:
    begin = 0
    for found in message.find(text):
        before = prefix.parse(text[begin : found.start])
        begin = found.end
        yield Entry(
            found.message, before.stamp, before.host, "", before.kernel, before.file, found.count,
            form=before.form,
        )  # fmt: skip


def _json(line: Line) -> list[Record] | None:
    text = line.text
    start = min((at for at in (text.find(b"{"), text.find(b"[[")) if at >= 0), default=-1)
    if text.lstrip(b" \x1e")[:1] == b"[" and start > 0 and text[:start].strip(b" \x1e[") == b"":
        start = text.index(b"[")
    if start < 0:
        return None
    for document in (text[start:], text[start:].replace(b'"=>', b'":')):  # Fluent Bit's stdout
        try:
            value, _ = json.JSONDecoder().raw_decode(document.decode("utf-8", "surrogateescape"))
            return [
                replace(each, stamp=each.stamp if each.stamp.text else _lead(text[:start]))
                for each in fields.of_json(value, fields.kind(value))
            ]
        except (ValueError, RecursionError):
            continue
    return None


# The time in front of the JSON of a line, as Fluentd and `docker service logs` write it.
def _lead(text: bytes) -> Stamp:
    return prefix.parse(text).stamp


# A shipper may keep the same text in several fields: what an earlier one has does not count again.
def _of_record(record: Record) -> Iterator[Entry]:
    known: list[message.Message] = []
    for whole in record.texts:
        new: list[message.Message] = []
        for line in whole.split(b"\n"):
            text = line if _understood(line) else colours.strip(line)
            for each in _of_text(text):
                if each.message in known:
                    continue
                new.append(each.message)  # type: ignore[arg-type]
                stamp, own = record.stamp, each.stamp
                boot_ns = own.boot_ns if stamp.boot_ns is None else stamp.boot_ns
                yield replace(
                    each,
                    stamp=replace(stamp if stamp.text else own, boot_ns=boot_ns),
                    host=each.host or record.host,
                    boot=record.boot,
                    kernel=record.kernel and each.kernel,
                    form=record.form,
                )
        known += new


# How often the line after it says that it was repeated (syslogd, BusyBox).
def _repeats(line: Line) -> int:
    for _, text in islice(line.after(), 1):
        if found := _LAST_REPEATED.search(text[:512]):
            return int(found[1])
    return 0


def _function(line: Line) -> str:
    for _, text in islice(line.after(), _OOPS_LINES):
        if found := message.INSTRUCTION.search(text[:4096]):
            return found[1].decode()
    return ""
