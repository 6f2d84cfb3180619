"""Which rows of the evidence are shown, and what their columns say."""

from pathlib import Path

import pytest

from sldtrace.analyzers.findings import catalogue
from sldtrace.reporters import excerpt
from sldtrace.reporters.document import Column, Report, Section, Unit
from tests.analyzers.synthetic import (
    EARLY,
    FLAGS,
    GUEST,
    MS,
    START_NS,
    WALL_NS,
    early,
    facts,
    lasting,
    loop,
    trace,
)
from tests.reporters.rendering import as_text

SHOWN = excerpt.FIRST + excerpt.LAST


@pytest.mark.parametrize(("count", "dots"), [(SHOWN - 1, False), (SHOWN, False), (SHOWN + 1, True)])
def test_dots_stand_for_what_is_left_out(tmp_path: Path, count: int, dots: bool) -> None:
    recorded = trace(tmp_path, lasting(70 * MS, count))
    (finding,) = catalogue.run(recorded)
    table = excerpt.table(recorded, finding.evidence, "trap")
    assert len(table.rows) == min(count, SHOWN)
    assert table.omitted == count - len(table.rows)
    lines = as_text(Report(None, [Section(blocks=[table])])).splitlines()[2:]
    assert [index for index, line in enumerate(lines) if set(line) == {".", " "}] == (
        [excerpt.FIRST] if dots else []
    )


def test_the_first_and_the_last_are_shown(tmp_path: Path) -> None:
    recorded = trace(tmp_path, loop(100))
    (finding,) = catalogue.run(recorded)
    table = excerpt.table(recorded, finding.evidence, "trap")
    assert table.columns[0] == Column("time (UTC)", Unit.UTC)
    assert [row[0] for row in table.rows] == [WALL_NS + index * MS for index in (0, 1, 2, 3, 97, 98, 99)]
    assert table.omitted_at == 4


def test_without_wall_time_the_clock_of_the_host_is_shown(tmp_path: Path) -> None:
    recorded = trace(tmp_path, loop(100), opening=facts(clock=None), ended={})
    (finding,) = catalogue.run(recorded)
    table = excerpt.table(recorded, finding.evidence, "trap")
    assert table.columns[0].unit is Unit.CLOCK
    assert table.rows[0][0] == START_NS


def test_what_was_not_watched_is_a_dash(tmp_path: Path) -> None:
    blind = EARLY & ~FLAGS["EXITS_WATCHED"] & ~FLAGS["MSR_WATCHED"] | GUEST
    rows = [
        early(0, 7 * MS, 3, exits=1234, guest_ns=5_760, start_cpu=7),
        early(10 * MS, 7 * MS, flags=blind, signal=0),
        early(20 * MS, 7 * MS, flags=EARLY | GUEST | FLAGS["MSR_CLEARED"], signal=40),
    ]
    recorded = trace(tmp_path, rows)
    (finding,) = catalogue.run(recorded)
    table = excerpt.table(recorded, finding.evidence, "trap")
    columns = {column.header: [row[at] for row in table.rows] for at, column in enumerate(table.columns)}
    assert columns["VM exits"] == [1234, None, 1]
    assert columns["in guest"] == [5760, None, 6000]
    assert columns["detection"] == ["stays on", None, "off"]
    assert columns["ended by"] == ["SIGUSR1", "unknown", "SIGRTMIN+6"]
    assert columns["slept"] == [7 * MS] * 3
    assert columns["left"] == [3, 9, 9]
    assert columns["CPU"] == [7, 0, 0]
