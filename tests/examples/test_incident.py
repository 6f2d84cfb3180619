"""The notebook of an incident, and the gallery: their answers from a recording are those of the report."""

import subprocess
import sys
from pathlib import Path

from examples import gallery
from tests.reporters import cases, rendering
from tests.reporters.browser import Page

ROOT = Path(__file__).parents[2]


def test_the_notebook_answers_as_the_report_does(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "examples/incident.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    recorded = rendering.parsed(cases.kept_file("lab-early-return-loop", tmp_path))
    (thread,), (finding,) = recorded["threads"], recorded["findings"]
    early = f"{thread['early_returns']:,} of {thread['traps']:,} traps returned early"
    assert f"{early}, 0 made progress" in run.stdout
    assert f"vCPU {finding['subject']['vcpu']}, TID {thread['tid']}," in run.stdout
    assert f"every {finding['numbers']['signal']['period_ns'] / 1e6:.2f} ms" in run.stdout
    assert "sysctl kernel.split_lock_mitigate=0" in run.stdout


def test_the_gallery_has_a_page_and_a_trace_of_each_recording(tmp_path: Path) -> None:
    recordings = [gallery.RECORDINGS / f"lab-{name}.sld" for name in ("early-return-loop", "lock-hold")]
    gallery.make(tmp_path, recordings)
    index = Page((tmp_path / "index.html").read_text())
    links = [values["href"] for tag, values in index.elements if tag == "a"]
    assert len(links) == 4
    for link in links:
        assert (tmp_path / str(link)).stat().st_size > 500
    assert "LIVELOCK" in Page((tmp_path / "lab-early-return-loop.html").read_text()).text
