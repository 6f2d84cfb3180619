"""The schema of this version, read from bpf/events.h, and the frozen schemas of earlier versions."""

import json
import re
from functools import cache
from pathlib import Path

from sldtrace import resources
from sldtrace.errors import SldtraceError
from sldtrace.recording.layout import Enumeration, Field, LayoutError, Record, Schema, from_json

SCHEMA_VERSION = 1
"""Rises with every change of a record or an enumeration in bpf/events.h after a release.

`python -m sldtrace.recording.schema` prints what belongs into schemas/VERSION.json; a test compares.
"""

NO_CPU = 0xFFFFFFFF
"""In `cpu` of a lost record: the CPU is not known."""

_FROZEN = Path(__file__).resolve().parent / "schemas"

_COMMENT = r"/\*(?P<comment>(?:[^*]|\*(?!/))*)\*/"
_TOP = re.compile(r"(?P<what>enum|struct)\s+sld_(?P<name>\w+)\s*\{")
_END = re.compile(r"\}\s*;")
_SPACE = re.compile(r"(?:\s|" + _COMMENT.replace("?P<comment>", "?:") + r")*")
_MEMBER = re.compile(r"(?P<name>\w+)\s*=\s*(?P<value>\w+)(?:\s*<<\s*(?P<shift>\d+))?\s*,?\s*" + _COMMENT)
_FIELD = re.compile(
    r"(?:__(?P<scalar>[us]\d+)|char)\s+(?P<name>\w+)(?:\[(?P<count>\d+)\])?\s*;\s*" + _COMMENT
)
_UNIT = re.compile(r"(?P<unit>\w+): (?P<meaning>\S.*)")
_ENUM = re.compile(r"\benum sld_(\w+)")


class _Parser:
    """Reads the small, regular part of C that events.h keeps to; anything else is an error with its line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, message: str) -> LayoutError:
        return LayoutError(f"line {self.text.count(chr(10), 0, self.at) + 1}: {message}")

    def skip(self) -> bool:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at < len(self.text)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def block(self, pattern: re.Pattern[str], what: str) -> list[tuple[re.Match[str], int]]:
        """The entries up to the closing brace, each with the position where it starts."""
        entries: list[tuple[re.Match[str], int]] = []
        while self.skip():
            if self.take(_END):
                return entries
            start = self.at
            entry = self.take(pattern)
            if entry is None:
                break
            entries.append((entry, start))
        raise self.fail(f"expected {what} with a comment, or }};")

    def fields(self) -> tuple[Field, ...]:
        fields: list[Field] = []
        offset = 0
        for entry, start in self.block(_FIELD, "a field"):
            try:
                fields.append(_field(entry, offset))
                offset += fields[-1].dtype.itemsize
            except LayoutError as error:
                self.at = start
                raise self.fail(str(error)) from error
        return tuple(fields)

    def enumeration(self, name: str) -> Enumeration:
        values, meanings = {}, {}
        for entry, start in self.block(_MEMBER, "NAME = value,"):
            try:
                values[entry["name"]] = int(entry["value"], 0) << int(entry["shift"] or 0)
            except ValueError as error:
                self.at = start
                raise self.fail(f"{entry['name']} is not given a number") from error
            meanings[entry["name"]] = " ".join(entry["comment"].split())
        cut = len(_prefix(name, list(values)))
        return Enumeration(
            name,
            {key[cut:]: value for key, value in values.items()},
            {key[cut:]: text for key, text in meanings.items()},
        )


def _field(entry: re.Match[str], offset: int) -> Field:
    name, scalar, count = entry["name"], entry["scalar"], entry["count"]
    text = _UNIT.fullmatch(" ".join(entry["comment"].split()))
    if text is None:
        raise LayoutError(f'field {name}: its comment must be "unit: meaning"')
    type_ = scalar if scalar and not count else f"{scalar or 'char'}[{count}]"
    enum = _ENUM.search(text["meaning"])
    return Field(name, type_, offset, text["unit"], text["meaning"], enum[1] if enum else None)


def _prefix(enum: str, members: list[str]) -> str:
    # The longest run of words of the enum's own name that every member begins with: SLD_TRAP_ for trap_flags.
    prefix = "SLD_"
    for word in enum.upper().split("_"):
        if not all(member.startswith(f"{prefix}{word}_") for member in members):
            break
        prefix += f"{word}_"
    if not all(member.startswith(prefix) for member in members):
        raise LayoutError(f"enum sld_{enum}: every name must begin with SLD_")
    return prefix


def _declarations(text: str) -> tuple[dict[str, Enumeration], dict[str, tuple[Field, ...]]]:
    # Every enum and every struct, by name.
    parser = _Parser(text)
    enums: dict[str, Enumeration] = {}
    structs: dict[str, tuple[Field, ...]] = {}
    while parser.skip():
        top = parser.take(_TOP)
        if top is None:
            raise parser.fail("expected enum sld_... { or struct sld_... {")
        if top["name"] in (enums if top["what"] == "enum" else structs):
            raise parser.fail(f"{top['what']} sld_{top['name']} is declared twice")
        if top["what"] == "enum":
            enums[top["name"]] = parser.enumeration(top["name"])
        else:
            structs[top["name"]] = parser.fields()
    return enums, structs


def parse(text: str, version: int) -> Schema:
    """The schema that the text of events.h declares; raises LayoutError, with the line where there is one.

    `struct sld_X` is the record of kind `SLD_KIND_X` of `enum sld_kind`; each needs the other. Enums
    that no field of a record takes its values from are not part of it.
    """
    enums, structs = _declarations(text)
    kinds = {name.lower(): number for name, number in enums["kind"].values.items()} if "kind" in enums else {}
    if kinds.keys() != structs.keys():
        odd = ", ".join(sorted(kinds.keys() ^ structs.keys()))
        raise LayoutError(f"struct sld_X and SLD_KIND_X must come in pairs; alone: {odd}")
    records = {name: Record(name, number, structs[name]) for name, number in kinds.items()}
    used = {field.enum for fields in structs.values() for field in fields}
    return Schema(version, records, {name: each for name, each in enums.items() if name in used})


@cache
def _header() -> tuple[str, dict[str, Enumeration]]:
    # The text of events.h, and every enum in it.
    path = resources.bpf() / "events.h"
    try:
        text = path.read_text(encoding="utf-8")
        return text, _declarations(text)[0]
    except (OSError, ValueError) as error:
        raise SldtraceError(f"{path} cannot be read: {error}", "install sldtrace again") from error


@cache
def current() -> Schema:
    """The schema that this version writes; raises SldtraceError when bpf/events.h cannot be read."""
    try:
        return parse(_header()[0], SCHEMA_VERSION)
    except LayoutError as error:
        raise SldtraceError(f"bpf/events.h declares no schema: {error}", "install sldtrace again") from error


def enumeration(name: str) -> Enumeration:
    """`enum sld_NAME` of bpf/events.h, also one that is in no file; raises KeyError for none."""
    return _header()[1][name]


@cache
def known(version: int) -> Schema | None:
    """The schema of that version if this program knows it: for a file whose own description is lost."""
    if version == SCHEMA_VERSION:
        return current()
    try:
        return from_json(json.loads((_FROZEN / f"{version}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    print(json.dumps(current().to_json(), indent=1))
