"""Makes the table of docs/vmms.md after `make test-vmm`: python -m tests.integration.vmms_page FOLDER."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sldtrace.analyzers.finding import Finding
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset.trace import load
from tests.integration.vmm_truth import cause, findings_of, progress_share, standstill_s
from tests.integration.vmms import BESIDE, CASES, Case
from tools.format_page import filled, table, write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "vmms.md"
BEGIN = "<!-- made by make test-vmm: do not edit -->"
_HEAD = ["`-machine`", "what is done", "progress", "longest standstill", "sldtrace says", "ended by"]


def rows(folder: Path) -> str:
    """The Markdown between the markers; folder: that of the part `vmms` (tests.machines)."""
    vms = json.loads((folder / "protocol.json").read_text())["vms"]
    found = catalogue.run(load(folder / "vmms.sld"))
    made = [_row(case, vms[case.name], found) for case in CASES]
    beside = next(case for case in CASES if case.name == BESIDE)
    made.insert(
        CASES.index(beside) + 1,
        _row(replace(beside, what="no split lock; at the same time"), vms[BESIDE]["acted"], found),
    )
    return "\n".join(table(_HEAD, made)) + "\n"


def _row(case: Case, vm: dict[str, Any], found: list[Finding[Any]]) -> list[str]:
    mine = findings_of(vm, found)
    verdicts = [f"{_whose(each, vm)}{each.verdict} (`{each.kind}`)" for each in mine]
    causes = dict.fromkeys(filter(None, (cause(each, vm) for each in mine)))
    return [
        f"`{case.machine}`",
        case.what,
        f"{100 * progress_share(vm):.0f} %",
        f"{standstill_s(vm):.2f} s",
        "; ".join(verdicts) or "nothing",
        "; ".join(causes),
    ]


def _whose(finding: Finding[Any], vm: dict[str, Any]) -> str:
    """Which vCPU's, where the VM has several."""
    return f"vCPU {finding.subject.vcpu}: " if finding.subject and len(vm["tids"]) > 1 else ""


if __name__ == "__main__":
    write(PAGE, lambda page: filled(page, BEGIN, rows(Path(sys.argv[1]))))
