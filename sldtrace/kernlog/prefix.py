"""Parses the prefix of a log line: time, host, and whether the kernel wrote it.

A time is computed only where the line is unambiguous. A date without a year, without a zone, or in another
language than English stays text, because a guessed year may be wrong.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HEAD, _TAIL = 256, 128  # characters of a long prefix that are parsed, at both ends
_TEXT = 64  # characters of a time that is kept as text

FORM_DATE, FORM_BOOT, FORM_KMSG, FORM_PART_OF_TIME, FORM_NO_TIME = (
    "text with a date",
    "text with the time since boot",
    "records of /dev/kmsg",
    "text with a part of the time (dmesg -d, --reltime)",
    "text without a time",
)
"""Prefix.form: the kinds of lines, as the report counts them."""

# netconsole may put the kernel's release in front.
_KMSG = re.compile(
    r"(?:^|[\s:\"])(?:\d{1,3}\.\d[^\s,]{0,64},)?\d{1,4},\d{1,20},(\d{1,16}),[^;]{0,200};$", re.ASCII
)
_ISO = re.compile(
    r"(?<!\d)(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?"
    r"(?: ?(Z|UTC|[+-]\d\d:?\d\d)(?![\w:]))?",
    re.ASCII,
)
_CTIME = re.compile(
    r"[A-Z][a-z]{2},? +([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:[.,]\d{1,9})? (\d{4})(?!\d)",
    re.ASCII,
)
_UNIX = re.compile(r"\s{0,8}(\d{9,10})\.(\d{3,9})\s", re.ASCII)
# Also with the time since the line before (dmesg -d, journalctl -o short-delta).
_BOOT = re.compile(
    r"\[\s{0,12}(\d{1,10})[.,](\d{1,9})(?:@\d{1,5}|\s*(?:<[\s\d.,*]{1,24}>)?)?\s{0,24}\]", re.ASCII
)
_DELTA = re.compile(r"\[\s{0,12}(\+\d{1,10}[.,]\d{1,9})\]", re.ASCII)
_MINUTE = re.compile(r"\[([^\s\[\]]{1,12} ?\d{1,2} \d\d:\d\d)\]")
# Any language: a month's name is what it is. The year comes last inside of brackets (dmesg -T).
_CLOCK = re.compile(r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?[+-]\d\d:?\d\d\b| \d{4}(?=\]))?")
# After the time: perhaps zone, host, facility.level; then the program. RFC 5424 has no colon after it.
_PROGRAM = re.compile(r"\s*((?:[^\s:\[]\S*\s+){0,3}?)([^\s:\[\]]{1,64})(?:\[\d{1,10}\])?(?::| - )")
_ALONE = re.compile(r"\s*([\w.:-]{1,128})\s+(?:\[.*)?", re.DOTALL)  # a host without a program
KERNEL = frozenset(("kernel", "klogd", "vmunix", "kmsg", "imklog"))
"""Names by which loggers call the kernel."""
_SEVERITIES = frozenset(
    (
        "EMERG",
        "ALERT",
        "CRIT",
        "CRITICAL",
        "ERR",
        "ERROR",
        "WARN",
        "WARNING",
        "NOTICE",
        "INFO",
        "DEBUG",
        "PANIC",
        "FATAL",
    )
)
_FACILITY = re.compile(r"[a-z0-9]{2,9}\.[a-z]{2,7}")
# What people and tools put in front of a line: quotes of mail, comments, numbers of lines (grep -n, cat -n).
_QUOTE = re.compile(r"(?:[>|#*;`\"'$]+\s+|>+|\"|`|//\s*|--\s+|\d{1,9}[:\t]\s*(?=\D)|\s+(?=[>|#]))+")
# Who sent or printed the line: node: of pdsh, node | of compose, FILE: of grep, the sender's address of
# netconsole. A file's name has a slash, an ending, or that of a log.
_LABEL = re.compile(
    r"(?P<label>\[?[\w.@/+-]{1,128}\]?)(?:\s{0,20}\|\s*|:\s*(?=\[|<\d|\d{1,4},\d|[A-Z][a-z]{2} |\d{4}-)"
    r"|\s+(?=\[|<\d+>\[|\d{1,4},\d{1,20},\d))"
)
_ADDRESS = re.compile(
    r"\[?(?P<ip>\d{1,3}(?:\.\d{1,3}){3}|(?=[0-9a-fA-F:]{0,40}::)[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})\]?"
    r"(?::\d{1,5})?:?\s+"
)
_FILE = re.compile(r".*/|.*\.(?:log|txt|gz|xz|bz2|zst|out|\d)$|(?:dmesg|kern|messages|syslog|kmsg|journal)\b")


@dataclass(frozen=True, slots=True)
class Stamp:
    """The time of a line.

    text: the time as written in the log, not escaped, may be empty. wall_ns: ns since 1970, UTC. local: ISO
    date and time, with a year but no zone. boot_ns: ns since boot, by printk's clock (local_clock, near
    CLOCK_MONOTONIC) or the trace clock. None if the log does not have it.
    """

    text: str = ""
    wall_ns: int | None = None
    local: str | None = None
    boot_ns: int | None = None


NO_TIME = Stamp()


@dataclass(frozen=True, slots=True)
class Prefix:
    """host, file: not escaped, empty if unknown; kernel: False if the line names another program.

    file: the name of a file in front of the line, as grep writes it. form: the kind of prefix.
    """

    stamp: Stamp
    host: str = ""
    kernel: bool = True
    file: str = ""
    form: str = field(default="", compare=False)


def parse(raw: bytes) -> Prefix:
    """The parsed prefix; what is not understood is left out, without an error."""
    text = raw.decode("utf-8", "replace")
    if len(text) > _HEAD + _TAIL:
        text = text[:_HEAD] + " " + text[-_TAIL:]
    if quote := _QUOTE.match(text):
        text = text[quote.end() :]
    label, text = _label(text)
    found = _unlabelled(text)
    if not label:
        return found
    if _FILE.match(label) and not re.fullmatch(r"[\d.]+", label):
        return replace(found, file=label)
    return replace(found, host=found.host or label)


def _label(text: str) -> tuple[str, str]:
    if sender := _ADDRESS.match(text):
        return sender["ip"], text[sender.end() :]
    found = _LABEL.match(text)
    if not found or re.fullmatch(r"[\[\]\d.,:+-]+", found["label"]) or found["label"] in KERNEL:
        return "", text
    return found["label"].strip("[]"), text[found.end() :]


def _unlabelled(text: str) -> Prefix:
    if found := _KMSG.search(text):
        return Prefix(Stamp(f"{int(found[1]) / 1e6:.6f}", boot_ns=int(found[1]) * 1000), form=FORM_KMSG)
    boots = list(_BOOT.finditer(text))
    boot = int(boots[-1][1]) * 10**9 + fraction_ns(boots[-1][2]) if boots else None
    if dated := _wall(text, boot):
        stamp, end = dated
        host, kernel = _program(text[end:].removeprefix("]"), only_kernel=False)
        return Prefix(stamp, host, kernel, form=FORM_DATE)
    for pattern in (_DELTA, _MINUTE):
        if found := pattern.search(text):
            return Prefix(Stamp(found[1], boot_ns=boot), form=FORM_PART_OF_TIME)
    if not boots:
        return Prefix(Stamp(), *_program(text, only_kernel=True), form=FORM_NO_TIME)
    stamp, end = Stamp(boots[-1][0].strip("[] "), boot_ns=boot), boots[0].end()
    host, kernel = _program(text[end:], only_kernel=True)
    if not host:
        host, _ = _program(text[: boots[0].start()], only_kernel=True)
    return Prefix(stamp, host, kernel, form=FORM_BOOT)


def iso(text: str) -> Stamp | None:
    """A date and time of ISO 8601 at the beginning of a text."""
    found = _ISO.match(text)
    if not found:
        return None
    numbers = [int(found[group]) for group in range(1, 7)]
    return _dated(found, numbers, found[7], found[8], None)


def fraction_ns(digits: str) -> int:
    """The digits after the decimal point of a number of seconds, 9 at most, as ns."""
    return int(digits.ljust(9, "0"))


def _wall(text: str, boot: int | None) -> tuple[Stamp, int] | None:
    if found := _ISO.search(text):
        numbers = [int(found[group]) for group in range(1, 7)]
        return _dated(found, numbers, found[7], found[8], boot), found.end()
    if (found := _CTIME.search(text)) and found[1] in _MONTHS:
        month = _MONTHS.index(found[1]) + 1
        numbers = [int(found[6]), month, *(int(found[group]) for group in range(2, 6))]
        return _dated(found, numbers, None, None, boot), found.end()
    if found := _UNIX.match(text):
        seconds = int(found[1]) * 10**9 + fraction_ns(found[2])
        return Stamp(found[0].strip(), wall_ns=seconds, boot_ns=boot), found.end()
    if found := _CLOCK.search(text):
        words = text[: found.end()].rsplit("[", 1)[-1].split()
        words = [word for word in words if any(map(str.isalnum, word))]
        return Stamp(" ".join(words[-6:])[-_TEXT:], boot_ns=boot), found.end()
    return None


def _dated(
    found: re.Match[str], numbers: list[int], fraction: str | None, zone: str | None, boot: int | None
) -> Stamp:
    try:
        if not 1970 <= numbers[0] <= 2200:
            raise ValueError
        moment = datetime(*numbers, tzinfo=_zone(zone))  # type: ignore[arg-type,misc]
    except ValueError:
        return Stamp(found[0], boot_ns=boot)  # no such date: the text alone
    if zone is None:
        return Stamp(found[0], local=moment.isoformat(), boot_ns=boot)
    wall = (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + fraction_ns(fraction or "0")
    return Stamp(found[0], wall_ns=wall, boot_ns=boot)


def _zone(name: str | None) -> timezone | None:
    if name is None:
        return None
    if name in ("Z", "UTC"):
        return timezone.utc
    minutes = int(name[1:3]) * 60 + int(name[-2:])
    return timezone(timedelta(minutes=-minutes if name[0] == "-" else minutes))


# The host, and whether the kernel wrote the line. Without a date (console, ring buffer) the line names no
# program, so only the word `kernel` counts as a name.
def _program(text: str, only_kernel: bool) -> tuple[str, bool]:
    found = _PROGRAM.match(text)
    if not found and not only_kernel and (alone := _ALONE.fullmatch(text)):
        return "" if alone[1] in _SEVERITIES or _FACILITY.fullmatch(alone[1]) else alone[1], True
    if not found or (only_kernel and found[2] not in KERNEL):
        return "", True
    words = [word for word in found[1].split() if not _FACILITY.fullmatch(word) and word not in _SEVERITIES]
    return words[-1] if words else "", found[2] in KERNEL
