"""The terminal, the page, the JSON and the trace for Perfetto say the same numbers of the same recording."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sldtrace.dataset import folding
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.style import Style
from sldtrace.text.phrases import length
from tests.export.test_perfetto import packets, slices, tracks
from tests.reporters import cases, rendering

NAMES = [
    "livelock",
    "detail",
    "queue",
    "fatal",
    *(name for names in cases.FROM_LAB.values() for name in names),
]
Row = tuple[str, ...]


def of_json(content: dict[str, Any]) -> dict[str, Row]:
    """TID: traps, early returns, completed, not penalized, slept."""
    counts = ("traps", "early_returns", "completed", "not_penalized")
    return {
        str(each["tid"]): (*(f"{each[name]:,}" for name in counts), length(each["slept_ns"]))
        for each in content["threads"]
    }


def of_text(text: str) -> dict[str, Row]:
    """The same of the table of threads in the terminal."""
    if "\nThreads that trapped\n" not in text:
        return {}
    lines = text.split("\nThreads that trapped\n")[1].split("\n\n")[0].splitlines()
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines[lines.index(rule(lines)) + 1 :]]
    return {cells[-7]: tuple(cells[-5:]) for cells in rows}


def rule(lines: list[str]) -> str:
    """The line below the headers."""
    return next(line for line in lines if set(line) <= {" ", "-"})


def of_page(page: str) -> dict[str, Row]:
    """The same of the table in the page."""
    if ">Threads that trapped<" not in page:
        return {}
    body = page.split("Threads that trapped</h2>")[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>") if "<td" in row]
    return {cells[-7]: tuple(cells[-5:]) for cells in rows}


def of_perfetto(name: str, longest_ns: int) -> dict[str, Row]:
    """The same of the slices on the tracks of threads."""
    found = {}
    by_track = slices(name)
    for uuid, track in tracks(name).items():
        mine = by_track.get(uuid, [])
        traps = Counter(which for which, *_, depth in mine if depth == 0 and which != "guest")
        if not track.HasField("thread") or not traps:
            continue
        # What is beyond the kernel's longest sleep is not sleep in the report: the thread waits for a CPU.
        slept = sum(min(end - start, longest_ns) for which, start, end, _ in mine if which == "sleep")
        counts = (traps.total(), *(traps[each] for each in ("early return", "completed", "not penalized")))
        found[str(track.thread.tid)] = (*(f"{each:,}" for each in counts), length(slept))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_all_forms_have_the_same_numbers(name: str, tmp_path: Path) -> None:
    recorded = cases.CASES[name](tmp_path)
    content = rendering.built(recorded)
    parsed = json.loads(rendering.as_json(content))
    numbers = of_json(parsed)
    assert of_text(rendering.as_text(content, 200)) == numbers
    assert of_page(FORMATS["html"].render(content, Style())) == numbers
    assert of_perfetto(name, folding.fold(recorded).assumed.longest_sleep_ns) == numbers


def test_all_forms_have_the_same_losses(tmp_path: Path) -> None:
    content = cases.report("detail")
    losses = json.loads(rendering.as_json(content))["recording"]["losses"]
    total = sum(each["count"] for each in losses)
    named = [each.track_event.name for each in packets("detail") if " lost (" in each.track_event.name]
    assert total == sum(int(name.split()[0].replace(",", "")) for name in named) == 300
    for form in ("text", "html"):
        assert re.search(rf"\b{total} .*lost|lost.*\b{total}\b", FORMATS[form].render(content, Style(200)))
