"""The alert rules and the dashboard: they use metrics that exist, and promtool's tests of the rules pass."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sldtrace.capture.live.detector import Detector
from sldtrace.capture.recorder import Status
from sldtrace.metrics import families
from sldtrace.metrics.exposition import render
from sldtrace.metrics.totals import Totals
from sldtrace.model import penalty
from tests.analyzers.synthetic import MS, START_NS, TICK, array, completed

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
NAME = re.compile(r"\bsldtrace_\w+")


def written() -> set[str]:
    """The names of all samples that a recorder writes."""
    detector = Detector(penalty.for_kernel("6.12", TICK), {0: 0}, MS, MS)
    detector.add("trap", array("trap", [completed(0)]))
    detector.advance(START_NS + 1000 * MS)
    totals = Totals(detector, 10)
    totals.update(lambda tgid: {"comm": "vmm"}, 1)
    text = render(families.of(totals, Status(), 1, 2))
    return {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if line[0] != "#"}


@pytest.mark.parametrize("name", ["alerts.yml", "alerts.test.yml", "dashboard.json"])
def test_they_use_metrics_that_exist(name: str) -> None:
    used = set(NAME.findall((FOLDER / name).read_text(encoding="utf-8")))
    assert used
    assert used <= written()


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and panel["targets"][0]["expr"] for panel in panels)
    places = [tuple(panel["gridPos"][each] for each in "xy") for panel in panels]
    assert len(set(places)) == len(places)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
@pytest.mark.parametrize("command", ["check rules alerts.yml", "test rules alerts.test.yml"])
def test_promtool_accepts_the_rules(command: str) -> None:
    done = subprocess.run(["promtool", *command.split()], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    expressions = [each["expr"] for panel in dashboard["panels"] for each in panel["targets"]]
    rules = [
        {"record": f"x{n}", "expr": expression.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for n, expression in enumerate(expressions)
    ]
    path = tmp_path / "rules.yml"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
