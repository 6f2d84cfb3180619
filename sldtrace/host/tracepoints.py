"""The tracepoints of the running kernel, with their ids and fields, from tracefs."""

import re

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
