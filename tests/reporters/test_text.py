"""How the text of a report is laid out, whatever it says."""

import pytest

from sldtrace.reporters.document import (
    AtLeast,
    Cell,
    Column,
    Command,
    Fact,
    Facts,
    Report,
    Section,
    Step,
    Steps,
    Table,
    Text,
    Tone,
    Unit,
)
from tests.reporters.rendering import as_text

LONG = "word " * 30


def lines(*sections: Section, width: int = 80, colour: bool = False) -> list[str]:
    return as_text(Report(None, sections), width, colour).splitlines()


def test_sections_and_parts_are_apart_and_parts_are_indented() -> None:
    part = Section("Part", [Text("inside")])
    assert lines(Section("Title", [Text("under")], [part]), Section(blocks=[Text("plain")])) == [
        *("Title", "  under", "", "  Part", "    inside"),
        *("", "plain"),
    ]


def test_text_is_wrapped_and_a_command_is_not() -> None:
    command = "run " * 30 + "end"
    made = lines(Section("Title", [Text(LONG), Command(command, "do: ", LONG)]))
    assert f"  do: {command}" in made
    assert max(len(line) for line in made if command not in line) <= 80
    assert made[-2].startswith("      (word") or made[-3].startswith("      (word")


def test_facts_have_labels_marks_and_commands() -> None:
    fact = Fact("bcc", LONG, "PROBLEM", Tone.CRITICAL, (Command("apt install", "do: "),))
    first, second, *_, last = lines(Section("Title", [Facts((fact,), 6)]))[1:]
    assert first.startswith("  PROBLEM bcc   word")
    assert second.startswith(" " * 16 + "word")
    assert last == " " * 16 + "do: apt install"


def test_steps_are_numbered() -> None:
    steps = Steps((Step("first", "none"), Step("second", "a reboot", "sysctl x=0")))
    assert lines(Section(blocks=[steps])) == [
        *("1. first", "   cost: none"),
        *("2. second", "     sysctl x=0", "   cost: a reboot"),
    ]


@pytest.mark.parametrize(("tone", "code"), [(Tone.GOOD, "32;1"), (Tone.CRITICAL, "31;1"), (None, "")])
def test_only_the_first_line_of_a_title_has_its_colour(tone: Tone | None, code: str) -> None:
    section = Section(LONG, tone=tone)
    plain, coloured = lines(section), lines(section, colour=True)
    assert coloured == ([f"\x1b[{code}m{plain[0]}\x1b[0m"] if code else plain[:1]) + plain[1:]


@pytest.mark.parametrize(
    ("value", "unit", "cell"),
    [
        (1234, Unit.COUNT, "1,234"),
        (12_345_000_000, Unit.COUNT, "12,345 M"),
        (1234, Unit.NUMBER, "1234"),
        (5_760, Unit.DURATION, "5.76 us"),
        (9, Unit.MS, "9 ms"),
        (AtLeast(2_000_000_000), Unit.BELOW, ">2 s"),
        (1_789_999_999_123_000_000, Unit.UTC, "14:13:19.123"),
        (1_500_000_000, Unit.CLOCK, "1.500"),
        (0x7C40, Unit.ADDRESS, "0x7c40"),
        (0.329, Unit.SHARE, "32.9 %"),
        (8.25, Unit.RATE, "8.2"),
        ("007", Unit.TEXT, "007"),
        (None, Unit.COUNT, "-"),
    ],
)
def test_each_unit_has_its_form(value: Cell, unit: Unit, cell: str) -> None:
    table = Table((Column("name"), Column("n", unit)), (("a", value),))
    assert lines(Section(blocks=[table]))[2].split(maxsplit=1)[1].strip() == cell


def test_rows_that_are_left_out_are_dots() -> None:
    table = Table((Column("name"),), (("first",), ("last",)), omitted=9, omitted_at=1)
    assert lines(Section(blocks=[table])) == ["name", "-----", "first", "...", "last"]
    table = Table((Column("name"),), (("first",),), omitted=9_000, omitted_at=1)
    assert lines(Section(blocks=[table])) == ["name", "-----", "first", "and 9,000 more"]


def test_a_stacked_table_that_is_too_wide_becomes_paragraphs() -> None:
    columns = (Column("who"), Column("n", Unit.COUNT), Column("note"))
    rows: tuple[tuple[Cell, ...], ...] = (("first", 1, LONG), ("second", None, "short"))
    made = lines(Section("Title", [Table(columns, rows, stacked=True)]))
    assert made[1].startswith("  first: n 1, note word")
    assert made[2].startswith("      word")
    assert made[-1] == "  second: note short"
    assert max(map(len, made)) <= 80
