"""The published schemas: as fresh as the dataclasses, valid, and strict about what they describe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator

from sldtrace.dataset.frames import Column
from sldtrace.reporters.json import plain
from sldtrace.reporters.rows import Row, RowsOf
from tests.reporters import cases
from tools import json_schemas


@pytest.mark.parametrize("name", json_schemas.CONTENTS)
def test_the_published_schema_is_the_one_that_is_made(name: str) -> None:
    published = json_schemas.path(name).read_text(encoding="utf-8")
    assert published == json_schemas.text(json_schemas.made()[name]), "run make docs"


def test_the_page_is_the_one_that_is_made() -> None:
    page = json_schemas.PAGE.read_text(encoding="utf-8")
    assert page == json_schemas.updated(page), "run make docs"


@pytest.mark.parametrize("name", json_schemas.CONTENTS)
def test_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(json_schemas.made()[name])


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Inner:
    """One inside."""

    count: int


@dataclass(frozen=True)
class Outer:
    """The whole.

    More about it.
    """

    name: Annotated[str, "what it is called"]
    share: float | None
    colour: Colour
    level: Level
    inner: Sequence[Inner]
    maybe: Inner | None
    free: Mapping[str, Any]
    counts: Mapping[str, int]
    rows: Annotated[Sequence[Row], RowsOf(lambda: COLUMNS)]


COLUMNS = {
    "rip": Column("uint64", "address", "where"),
    "vcpu": Column("Int64", "number", "<NA>: not known"),
    "guest": Column("bool", "flag", "a guest"),
    "comm": Column("text", "name", "its name"),
}
ROW = {"rip": "0x10", "vcpu": None, "guest": True, "comm": "x"}
OUTER = Outer("a", None, Colour.RED, Level.LOW, [Inner(1)], None, {"x": [1]}, {"trap": 2}, [ROW])


def errors(value: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(json_schemas.schema(Outer)).iter_errors(value)]


def test_what_is_rendered_fits_the_schema() -> None:
    assert errors(plain(OUTER)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"share": "1"},
        {"colour": "blue"},
        {"level": 1},
        {"inner": [{"count": "1"}]},
        {"inner": [{}]},
        {"maybe": 3},
        {"free": []},
        {"counts": {"trap": "2"}},
        {"rows": [ROW | {"rip": 16}]},
        {"rows": [ROW | {"rip": "16"}]},
        {"rows": [ROW | {"vcpu": "0"}]},
        {"rows": [{}]},
        {"more": 1},
    ],
)
def test_anything_else_does_not(change: dict[str, Any]) -> None:
    assert len(errors(plain(OUTER) | change)) == 1 + 3 * (change == {"rows": [{}]})


def test_descriptions_come_from_the_code() -> None:
    made = json_schemas.schema(Outer)
    assert (made["description"], made["properties"]["name"]["description"]) == (
        "The whole.",
        "what it is called",
    )
    assert made["$defs"]["Inner"]["description"] == "One inside."


def test_a_type_without_a_counterpart_is_refused() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: bytes

    with pytest.raises(TypeError, match="no JSON Schema"):
        json_schemas.schema(Odd)


def test_numbers_and_evidence_depend_on_their_kind() -> None:
    validator = Draft202012Validator(json_schemas.made()["report"])
    made = plain(cases.report("livelock").data)
    finding = made["findings"][0]
    for change in (
        {"kind": "fatal"},
        {"kind": "new"},
        {"evidence_kind": "stall"},
        {"rip": 31808},
        {"numbers": finding["numbers"] | {"traps": "many"}},
    ):
        assert list(validator.iter_errors(made | {"findings": [finding | change]})), change
