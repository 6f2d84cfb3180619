"""The same findings, however a recording is cut into slices and files, and in any order of the files."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import Trace
from sldtrace.engine import slices
from sldtrace.recording import collect
from sldtrace.recording.timeline import Timeline
from tests.recording.rotated import rotate
from tests.recording.test_joined import comparable
from tests.reporters import cases


def moments(source: Timeline) -> list[int]:
    """When records of the most frequent kind were written, without the last one: a file may end there."""
    kind = max(("trap", "exit"), key=lambda each: source.counts.get(each, 0))
    records = source.records(kind)
    found: list[int] = np.unique(records["end_ns" if kind == "trap" else "ns"]).astype(np.int64)[:-1].tolist()
    return found


def content(recorded: Trace) -> dict[str, Any]:
    """The report without wall times: each file has a clock of its own, and rounding differs by 1 ns."""
    found = comparable(recorded)
    for finding in found["findings"]:
        del finding["start_wall_ns"], finding["end_wall_ns"]
    return found


def different_cuts(source: Timeline, folder: Path, chance: random.Random) -> Iterator[Timeline]:
    """The recording with other slices, and as files of random lengths in random order."""
    for turn in range(2):
        yield source
        known = moments(source)
        count = min(len(known), chance.randint(1, 6))
        folder.joinpath(str(turn)).mkdir()
        files = rotate(source, folder / str(turn) / "host.sld", sorted(chance.sample(known, count)))
        chance.shuffle(files)
        (timeline,) = collect.open_all(files).timelines
        yield timeline


@pytest.mark.parametrize("name", cases.EACH_KIND)
def test_the_findings_are_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cases.CASES[name](tmp_path)
    expected = content(whole)
    chance = random.Random(name)
    for again in different_cuts(whole.recording, tmp_path, chance):
        monkeypatch.setattr(slices, "SLICE", chance.choice([1, 7, 50, 400]))
        assert content(Trace(again)) == expected


def test_each_kind_of_finding_is_among_them(tmp_path: Path) -> None:
    found = {each.kind for name in cases.EACH_KIND for each in catalogue.run(cases.CASES[name](tmp_path))}
    assert found == {each.kind for each in catalogue.ANALYZERS}
