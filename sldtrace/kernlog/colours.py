"""Removes the colours that dmesg, grep and journalctl write for a terminal."""

import re

# A CSI, OSC or two-byte sequence (ECMA-48), also as `less`, `cat -v` and rsyslog write the ESC.
_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])"
    rb"|(?:\^\[|ESC|#033|\\033|\\e|\\x1b)\[[\d;]{0,16}[mK]"
)


def strip(line: bytes) -> bytes:
    """The line without them, and without what a carriage return or a backspace overwrites."""
    return _SEQUENCE.sub(b"", line)
