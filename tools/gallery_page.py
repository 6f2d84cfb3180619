"""Makes the gallery in examples/README.md from the kept recordings: python -m tools.gallery_page."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sldtrace.analyzers import threads
from sldtrace.analyzers.findings import catalogue
from sldtrace.dataset import trace as traces
from sldtrace.reporters import report
from sldtrace.reporters.document import Overview
from tools import format_page

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "examples/README.md"
RECORDINGS = ROOT / "tests/reporters/recordings"
BEGIN = "<!-- made by python -m tools.gallery_page from tests/reporters/recordings: do not edit -->"
_INCIDENT = "examples/incident.py"


def titles(recording: Path) -> Iterator[str]:
    """What the summary of its report says first: each verdict in one line."""
    trace = traces.load(recording)
    found = catalogue.run(trace)
    made = report.build(trace, found, threads.summarize(trace, found), catalogue.not_evaluated(trace))
    for section in made.sections:
        for block in section.blocks:
            if isinstance(block, Overview):
                yield from (each.title for each in block.verdicts)
                if block.nothing:
                    yield block.nothing.label
    trace.recording.close()


def text() -> str:
    """The Markdown between the markers."""
    rows = [[f"`{path.name}`", "<br>".join(titles(path))] for path in sorted(RECORDINGS.glob("*.sld"))]
    command = [sys.executable, _INCIDENT]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [
        *format_page.table(["recording", "the summary of its report"], rows),
        "",
        "The notebook:",
        "",
        "```",
        f"$ python {_INCIDENT}",
        *said.splitlines(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """The page with fresh output; raises SldtraceError when it lacks the markers."""
    return format_page.filled(page, BEGIN, text())


if __name__ == "__main__":
    format_page.write(PAGE, updated)
