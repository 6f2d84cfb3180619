"""Recordings of the model, for what the lab cannot do or not at a given jiffy; marked as simulated."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner

from sldtrace.analyzers.findings import catalogue
from sldtrace.commands.simulate import simulate
from sldtrace.dataset import trace as traces
from sldtrace.dataset.trace import Trace


def simulated(folder: Path, *options: str) -> Trace:
    """What `sldtrace simulate` writes with these options."""
    path = folder / "simulated.sld"
    result = CliRunner().invoke(simulate, ["-f", "-o", str(path), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return traces.load(path)


def kinds(recorded: Trace) -> list[Any]:
    """The kind and the verdict of each finding."""
    return [(finding.kind, finding.verdict) for finding in catalogue.run(recorded)]
