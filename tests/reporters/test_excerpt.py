"""Which rows of the evidence are shown, and what their columns say."""

from pathlib import Path

import pytest

from sldtrace.analyzers.findings import catalogue
from sldtrace.reporters import excerpt
from tests.analyzers.synthetic import EARLY, FLAGS, GUEST, MS, early, lasting, loop, trace

SHOWN = excerpt.FIRST + excerpt.LAST


@pytest.mark.parametrize(("count", "dots"), [(SHOWN - 1, False), (SHOWN, False), (SHOWN + 1, True)])
def test_dots_stand_for_what_is_left_out(tmp_path: Path, count: int, dots: bool) -> None:
    recorded = trace(tmp_path, lasting(70 * MS, count))
    (finding,) = catalogue.run(recorded)
    table = excerpt.rows(recorded, finding.evidence)
    assert len(table) == (SHOWN + 1 if dots else count)
    cells = table.to_numpy().tolist()
    assert [index for index, row in enumerate(cells) if set(row) == {"..."}] == (
        [excerpt.FIRST] if dots else []
    )


def test_the_first_and_the_last_are_shown(tmp_path: Path) -> None:
    recorded = trace(tmp_path, loop(100))
    (finding,) = catalogue.run(recorded)
    times = excerpt.rows(recorded, finding.evidence)["time (UTC)"].tolist()
    assert times == [
        *(f"14:13:20.00{index}" for index in range(4)),
        "...",
        *(f"14:13:20.09{index}" for index in (7, 8, 9)),
    ]


def test_what_was_not_watched_is_a_dash(tmp_path: Path) -> None:
    blind = EARLY & ~FLAGS["EXITS_WATCHED"] & ~FLAGS["MSR_WATCHED"] | GUEST
    rows = [
        early(0, 7 * MS, 3, exits=1234, guest_ns=5_760, start_cpu=7),
        early(10 * MS, 7 * MS, flags=blind, signal=0),
        early(20 * MS, 7 * MS, flags=EARLY | GUEST | FLAGS["MSR_CLEARED"], signal=40),
    ]
    recorded = trace(tmp_path, rows)
    (finding,) = catalogue.run(recorded)
    table = excerpt.rows(recorded, finding.evidence)
    assert table["VM exits"].tolist() == ["1,234", "-", "1"]
    assert table["in guest"].tolist() == ["5.76 us", "-", "6 us"]
    assert table["detection"].tolist() == ["stays on", "-", "off"]
    assert table["ended by"].tolist() == ["SIGUSR1", "-", "SIGRTMIN+6"]
    assert table["slept"].tolist() == ["7 ms"] * 3
    assert table["left"].tolist() == ["3 ms", "9 ms", "9 ms"]
    assert table["CPU"].tolist() == ["7", "0", "0"]
