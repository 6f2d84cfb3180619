"""Makes docs/*-schema.json and the tables of docs/report.md: python -m tools.json_schemas.

Both follow from the dataclasses that sldtrace.reporters.json renders.
"""

import dataclasses
import inspect
import json
import types
from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset import frames
from sldtrace.dataset.frames import Column
from sldtrace.reporters import excerpt
from sldtrace.reporters.check import CheckContent
from sldtrace.reporters.compare import CompareContent
from sldtrace.reporters.content import FindingContent, RecordingContent, ReportContent, ReportsContent
from sldtrace.reporters.fleet_content import FleetContent
from sldtrace.reporters.log_content import LogContent
from sldtrace.reporters.probe import ProbeContent
from sldtrace.reporters.rows import RowsOf, is_hexadecimal
from sldtrace.reporters.what_if import WhatIfContent
from tools import format_page

DOCS = format_page.PAGE.parent
PAGE = DOCS / "report.md"
BEGIN = "<!-- made by python -m tools.json_schemas from sldtrace/reporters/content.py: do not edit -->"

CONTENTS: Mapping[str, type] = {
    "report": ReportContent,
    "reports": ReportsContent,
    "what-if": WhatIfContent,
    "compare": CompareContent,
    "fleet": FleetContent,
    "probe": ProbeContent,
    "check": CheckContent,
    "log": LogContent,
}
"""The dataclass of each command's JSON, by the name of its schema."""

_WIDTH = 120

HEXADECIMAL = {"type": "string", "pattern": "^0x[0-9a-f]+$"}

_SIMPLE: Mapping[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
    Any: {},
}
_COLUMN_TYPES = {
    "bool": "boolean",
    "float64": "number",
    "int64": "integer",
    "Int64": "integer",
    "uint64": "integer",
}


def schema(content: type) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a dataclass as sldtrace.reporters.json.plain renders it.

    An Annotated type may carry a text, which is the description, and RowsOf. Raises TypeError for a type
    that has no counterpart.
    """
    definitions: dict[str, Any] = {}
    top = _object(content, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        **({"$defs": dict(sorted(definitions.items()))} if definitions else {}),
    }


def _object(of: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(of, include_extras=True)
    names = [field.name for field in dataclasses.fields(of)]
    return {
        "title": of.__name__.removesuffix("Content"),
        "description": _first_line(of),
        "type": "object",
        "properties": {name: _type(hints[name], definitions) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _first_line(of: type) -> str:
    return (inspect.getdoc(of) or "").split("\n")[0]


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:], definitions)
    if origin in (Union, types.UnionType):
        return _any_of([_type(each, definitions) for each in arguments])
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin in (dict, Mapping):
        value = _type(arguments[1], definitions)
        return {"type": "object", **({"additionalProperties": value} if value else {})}
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = [each.name.lower() if issubclass(hint, IntEnum) else each.value for each in hint]
        return {"enum": values}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        name = hint.__name__.removesuffix("Content")
        if name not in definitions:
            definitions[name] = {}  # it may contain itself
            definitions[name] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    raise TypeError(f"no JSON Schema for {hint}")


def _annotated(of: Any, notes: Sequence[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    made = _type(of, definitions)
    for note in notes:
        if isinstance(note, RowsOf):
            made = {"type": "array", "items": _row(note.columns())}
        elif isinstance(note, str):
            made = {"description": note, **made}
    return made


def _any_of(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if all(part.keys() == {"type"} for part in parts):
        return {"type": [part["type"] for part in parts]}
    return {"anyOf": parts}


# A newer recording may have columns that this version does not know.
def _row(columns: Mapping[str, Column]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _column(column) for name, column in columns.items()},
        "required": list(columns),
    }


def _column(column: Column) -> dict[str, Any]:
    if is_hexadecimal(column):
        return {"description": column.meaning, **HEXADECIMAL}
    kind: Any = _COLUMN_TYPES.get(column.dtype, "string")
    if column.dtype == "Int64":
        kind = [kind, "null"]
    unit = f" ({column.unit})" if kind != "string" and column.unit not in ("flag", "count", "number") else ""
    return {"description": column.meaning.replace("<NA>", "null") + unit, "type": kind}


def made() -> dict[str, dict[str, Any]]:
    """All schemas, by name."""
    return {name: schema(content) for name, content in CONTENTS.items()} | {
        "report": _report(),
        "reports": _reports(),
    }


def _reports() -> dict[str, Any]:
    whole = schema(ReportsContent)
    each = [{"$ref": path(name).name} for name in ("report", "what-if")]
    whole["properties"]["reports"]["items"] = {"anyOf": each}
    return whole


# What a finding's numbers and evidence look like depends on its kind and on the kind of its evidence.
def _report() -> dict[str, Any]:
    whole = schema(ReportContent)
    definitions = whole["$defs"]
    finding = definitions["Finding"]
    finding["properties"]["kind"]["enum"] = [each.kind for each in catalogue.ANALYZERS]
    finding["properties"]["evidence_kind"]["enum"] = list(excerpt.KINDS)
    finding["properties"]["rip"]["pattern"] = HEXADECIMAL["pattern"]
    numbers: dict[str, list[str]] = {}
    for analyzer in catalogue.ANALYZERS:
        reference = _type(analyzer.numbers, definitions)["$ref"]
        numbers.setdefault(reference, []).append(analyzer.kind)
    records = {kind: f"record_{kind}" for kind in excerpt.KINDS}
    for kind, name in records.items():
        definitions[name] = _row(frames.described(kind))
    finding["allOf"] = [
        *(
            _where("kind", {"enum": kinds}, "numbers", {"$ref": reference})
            for reference, kinds in numbers.items()
        ),
        *(
            _where(
                "evidence_kind", {"const": kind}, "evidence", {"items": {"$ref": f"#/$defs/record_{kind}"}}
            )
            for kind, name in records.items()
        ),
    ]
    del definitions["Numbers"], finding["properties"]["numbers"]["$ref"]
    whole["$defs"] = dict(sorted(definitions.items()))
    return whole


def _where(key: str, condition: dict[str, Any], other: str, holds: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {key: condition}}, "then": {"properties": {other: holds}}}


def path(name: str) -> Path:
    """Where the schema is published."""
    return DOCS / f"{name}-schema.json"


def text(of: Mapping[str, Any]) -> str:
    """A schema as it stands in its file: an object or array on one line where it fits."""
    return _laid_out(of, 0, 0) + "\n"


def _laid_out(value: Any, indent: int, before: int) -> str:
    line = json.dumps(value)
    if not value or not isinstance(value, (dict, list)) or indent + before + len(line) < _WIDTH:
        return line
    inner = " " * (indent + 1)
    if isinstance(value, list):
        lines = [f"{inner}{_laid_out(each, indent + 1, 0)}" for each in value]
        brackets = "[]"
    else:
        keys = [json.dumps(key) + ": " for key in value]
        lines = [
            f"{inner}{key}{_laid_out(each, indent + 1, len(key))}"
            for key, each in zip(keys, value.values(), strict=True)
        ]
        brackets = "{}"
    return "\n".join([brackets[0], ",\n".join(lines), " " * indent + brackets[1]])


def tables() -> str:
    """The Markdown between the markers: what each object of the report's JSON holds."""
    lines: list[str] = []
    for of, title in (
        (ReportContent, "The object"),
        (RecordingContent, "`recording`"),
        (FindingContent, "Each of `findings`"),
    ):
        hints = get_type_hints(of, include_extras=True)
        rows = [[f"`{field.name}`", _meaning(hints[field.name])] for field in dataclasses.fields(of)]
        lines += [f"### {title}", "", *format_page.table(["key", "content"], rows), ""]
    return "\n".join(lines)


def _meaning(hint: Any) -> str:
    notes = []
    inner = hint
    if get_origin(hint) is Annotated:
        inner, *rest = get_args(hint)
        notes = [note for note in rest if isinstance(note, str)]
    names = _keys(hint)
    if isinstance(inner, type) and issubclass(inner, Enum):
        names = [each.name.lower() for each in inner]
    return ": ".join(part for part in ("; ".join(notes), ", ".join(f"`{name}`" for name in names)) if part)


# The keys of an object, or of each object of an array.
def _keys(hint: Any) -> list[str]:
    if get_origin(hint) is Annotated:
        for note in get_args(hint)[1:]:
            if isinstance(note, RowsOf):
                return list(note.columns())
        return _keys(get_args(hint)[0])
    if dataclasses.is_dataclass(hint):
        return [field.name for field in dataclasses.fields(hint)]
    for each in get_args(hint):
        if keys := _keys(each):
            return keys
    return []


def updated(page: str) -> str:
    """The page with fresh tables; raises SldtraceError when it lacks the markers."""
    return format_page.filled(page, BEGIN, tables())


def main() -> None:
    """Writes the schemas and the page."""
    for name, each in made().items():
        path(name).write_text(text(each), encoding="utf-8")
    format_page.write(PAGE, updated)


if __name__ == "__main__":
    main()
