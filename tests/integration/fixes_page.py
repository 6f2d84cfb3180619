"""Makes the table of docs/the-bug.md after `make test-vmm`: python -m tests.integration.fixes_page FOLDER."""

import json
import sys
from pathlib import Path
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import Trace, load
from tests.integration.fixes import COPY, FIXES, MANY, REMOVED, UNPATCHED
from tests.integration.fixes_truth import findings_of, predicted, truth
from tools.format_page import filled, table, write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "the-bug.md"
BEGIN = "<!-- made by make test-vmm: do not edit -->"
_HEAD = [
    "`split_lock_warn`",
    "VMs",
    "loops/s",
    "traps/s",
    "completed/s",
    "predicted",
    "penalty",
    "a signal is late by",
    "sldtrace says",
]
_NAMES = {UNPATCHED: "as it is", COPY: "a copy of it", REMOVED: "as it is, after that"}


def rows(folder: Path) -> str:
    """The Markdown between the markers; folder: that of the part `fixes` (tests.machines)."""
    cases = json.loads((folder / "protocol.json").read_text())["cases"]
    recorded = load(folder / "fixes.sld")
    found = catalogue.run(recorded)
    return "\n".join(table(_HEAD, [_row(name, cases, folder, recorded, found) for name in cases])) + "\n"


def _row(
    name: str, cases: dict[str, Any], folder: Path, recorded: Trace, found: list[Finding[Any]]
) -> list[str]:
    one, several = truth(cases[name], folder), name.endswith(f" x{MANY}")
    usual, most = one.delay_s
    verdicts = sorted({each.verdict for each in findings_of(cases[name], found)})
    return [
        _NAMES.get(name) or f"`{name.removesuffix(f' x{MANY}')}`",
        str(len(one.loops)),
        f"{sum(one.loops) / one.seconds:,.0f}",
        f"{one.traps / one.seconds:.0f}",
        f"{one.completed / one.seconds:.1f}",
        f"{predicted(cases, recorded, name).detection_off_per_s:.1f}" if name in FIXES else "",
        f"{1e3 * one.penalty_s:.1f} ms" if one.penalties and not several else "",
        f"{1e3 * usual:.2f}, {1e3 * most:.2f} ms",
        ""
        if name in (UNPATCHED, REMOVED)
        else ", ".join(verdicts) or "nothing found in an incomplete recording",
    ]


if __name__ == "__main__":
    write(PAGE, lambda page: filled(page, BEGIN, rows(Path(sys.argv[1]))))
