"""A report as one JSON object, whose shape docs/*-schema.json describe."""

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Any

from sldtrace.reporters.document import Report
from sldtrace.reporters.style import Style


class JsonReporter:
    """For programs: everything, with numbers as numbers and addresses as hexadecimal strings."""

    name = "json"
    extension = "json"
    pictures = False

    def check(self) -> None:
        """It needs nothing more."""

    def render(self, report: Report, style: Style) -> str:
        """One object. Only ASCII is written, so that no name in it can do anything to a terminal."""
        return json.dumps(plain(report.data), indent=2) + "\n"


def plain(value: Any) -> Any:
    """The value in the types that JSON has: dataclasses as objects, enumerations by their names."""
    if value is None or type(value) in (int, str, bool):
        return value
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
