"""The kernel's boot messages about split-lock detection, from its ring buffer."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sldtrace.kernlog import message
from sldtrace.kernlog.message import Mode

_RECORD = 1 << 13  # no record is longer (CONSOLE_EXT_LOG_MAX, kernel/printk/internal.h)
# security/lockdown/lockdown.c: lock_kernel_down, lockdown_is_locked_down
_LOCKED_DOWN = re.compile(rb"Kernel is locked down from [\w ]{1,60}|Lockdown: [^;]{1,100} is restricted")
_NO_ACCESS = "no-access"  # kernlog.message.Mode


@dataclass(frozen=True)
class BootLog:
    """The messages in the ring buffer.

    readable: False if this process cannot read it; begins: it still has the boot's first message; mode: as in
    kernlog.message.Mode, None if no message has it; failed: MSR_TEST_CTRL could not be written, so there is
    no detection; lines: the messages; locked_down: the line that says that the kernel is, empty without one.
    """

    readable: bool
    begins: bool = False
    mode: str | None = None
    failed: bool = False
    lines: tuple[str, ...] = ()
    locked_down: str = ""


def read(path: Path = Path("/dev/kmsg")) -> BootLog:
    """Reads the ring buffer; needs CAP_SYSLOG where kernel.dmesg_restrict is 1."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return BootLog(readable=False)
    try:
        return parse(_records(handle))
    finally:
        os.close(handle)


# One read is one record; EPIPE: the record was overwritten (Documentation/ABI/testing/dev-kmsg).
def _records(handle: int) -> list[bytes]:
    records = []
    while True:
        try:
            record = os.read(handle, _RECORD)
        except BrokenPipeError:
            continue
        except OSError:
            break
        if not record:
            break
        records.append(record)
    return records


def parse(records: list[bytes]) -> BootLog:
    """The messages in records of /dev/kmsg: `priority,sequence,time,flags;text`."""
    begins = False
    locked_down = ""
    messages: list[Mode] = []
    for record in records:
        head, _, text = record.partition(b";")
        fields = head.split(b",")
        # User space can write to the log, but not as facility 0 (kernel/printk/printk.c, devkmsg_write).
        if len(fields) < 3 or not fields[0].isdigit() or int(fields[0]) >> 3:
            continue
        begins = begins or fields[1] == b"0"
        if locked := _LOCKED_DOWN.search(text):
            locked_down = locked_down or locked[0].decode("ascii", "replace")
        found = message.find(text.split(b"\n", 1)[0])
        messages += [each.message for each in found if isinstance(each.message, Mode)]
    modes = [one.name for one in messages if one.name != _NO_ACCESS]
    failed = any(one.name == _NO_ACCESS for one in messages)
    texts = tuple(one.text for one in messages)
    return BootLog(True, begins, modes[-1] if modes else None, failed, texts, locked_down)
