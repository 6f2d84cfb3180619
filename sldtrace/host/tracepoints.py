"""The tracepoints of the running kernel, with their ids and fields, from tracefs."""

import re
from pathlib import Path

from sldtrace.host import kernel

_FIELD = re.compile(r"^\tfield:(?P<what>[^;]+);\toffset:\d+;\tsize:\d+;", re.MULTILINE)


def _read(name: str, file: str) -> str | None:
    root = kernel.tracefs()
    category, _, event = name.partition(":")
    try:
        return (root / "events" / category / event / file).read_text() if root else None
    except OSError:
        return None


def identifier(name: str) -> int | None:
    """The id of the tracepoint `category:name` for perf_event_open; None if it does not exist."""
    text = _read(name, "id")
    return int(text) if text else None


def fields(name: str) -> frozenset[str] | None:
    """Names of the fields of the tracepoint `category:name`; None if it does not exist."""
    text = _read(name, "format")
    return None if text is None else parse_fields(text)


def parse_fields(text: str) -> frozenset[str]:
    """The names of the fields in the text of a tracepoint's `format` file."""
    declared = (match["what"] for match in _FIELD.finditer(text))
    return frozenset(re.sub(r"\[.*\]$", "", what).split()[-1].lstrip("*") for what in declared)


def functions_of(module: str, kallsyms: Path = Path("/proc/kallsyms")) -> list[tuple[int, str]]:
    """Address and name of each function of a loaded module, by address.

    Empty if it is not loaded, is part of the image, or addresses are hidden (kernel.kptr_restrict).
    """
    mark, found = f"\t[{module}]\n".encode(), []
    # Only the lines that are wanted are looked at: there are some hundred thousand.
    text, end = kallsyms.read_bytes(), -1
    while (end := text.find(mark, end + 1)) >= 0:
        address, kind, name = text[text.rfind(b"\n", 0, end) + 1 : end].decode("ascii", "replace").split()
        if kind in "tT" and int(address, 16):
            found.append((int(address, 16), name))
    return sorted(found)
