"""The text format: what a name may contain, and how numbers are written."""

import shutil
import subprocess

import pytest

from sldtrace.metrics.exposition import Metric, render

HOSTILE = 'web"1\\\n\x1b[2J\u202e} 1\nsldtrace_traps_total 7'


def test_families_with_labels_and_times_of_creation() -> None:
    metric = Metric("sldtrace_traps", "counter", "Split locks.", [({"vm": "a"}, 3)], [({"vm": "a"}, 12.5)])
    assert render([metric]).splitlines() == [
        "# HELP sldtrace_traps_total Split locks.",
        "# TYPE sldtrace_traps_total counter",
        'sldtrace_traps_total{vm="a"} 3',
        "# HELP sldtrace_traps_created When the counter began (Unix time).",
        "# TYPE sldtrace_traps_created gauge",
        'sldtrace_traps_created{vm="a"} 12.5',
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(10**18, "1000000000000000000"), (0.0, "0"), (1e-9, "0.000000001"), (2.5, "2.5")]
)
def test_numbers_have_no_exponent(value: float, text: str) -> None:
    assert render([Metric("x", "gauge", "", [({}, value)])]).splitlines()[-1] == f"x {text}"


def test_a_hostile_name_stays_a_value() -> None:
    lines = render([Metric("x", "gauge", "", [({"vm": HOSTILE}, 1)])]).splitlines()
    assert len(lines) == 3
    assert lines[2] == r'x{vm="web\"1\\\\n\\x1b[2J\\u202e} 1\\nsldtrace_traps_total 7"} 1'


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_accepts_it() -> None:
    text = render([Metric("sldtrace_traps", "counter", "Split locks.", [({"vm": HOSTILE}, 3)])])
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
