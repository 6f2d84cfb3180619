"""Runs the commands whose output the documentation shows: python -m tools.outputs_page.

A page says where: a line `<!-- made by python -m tools.outputs_page: NAME -->`, with NAME of `OUTPUTS`. The
commands run in an empty folder with the files that the output names, by the sldtrace of this checkout.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner

from sldtrace import cli
from tools import format_page

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- made by python -m tools.outputs_page: {} -->"
WIDTH = 110
"""Columns of the outputs; the documentation has no longer lines."""

_MARK = re.compile(re.escape(BEGIN).replace(r"\{\}", "([a-z-]+)"))
_ENVIRONMENT = {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
_INCIDENT = {"incident.sld": "tests/reporters/recordings/lab-early-return-loop.sld"}
_FIXES = "--what-if fix=uninterruptible --what-if fix=remaining --what-if fix=early-returns:3"
_HOSTS = (
    "mkdir recordings && sldtrace simulate -d 3s -o recordings/host1.sld"
    " && sldtrace simulate -d 3s --vcpus 2 -o recordings/host2.sld"
    " && sldtrace simulate -d 3s --mitigate 0 -o recordings/host3.sld"
)
_CHANGE = "sldtrace simulate -d 3s -o before.sld && sldtrace simulate -d 3s --mitigate 0 -o after.sld"


@dataclass(frozen=True)
class Output:
    """What a page shows: commands with their standard output.

    files: names in the folder, and what they are in the checkout; before: a command that is not shown;
    lines: how many lines of output are shown (None: all), then `...`; verdicts: only what follows the first
    empty line, which in a summary are the verdicts.
    """

    commands: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    lines: int | None = None
    verdicts: bool = False


def _finding(recording: str) -> Output:
    files = {"incident.sld": f"tests/reporters/recordings/lab-{recording}.sld"}
    return Output(("sldtrace report --brief incident.sld",), files, lines=9, verdicts=True)


# The kinds of finding that the lab's kept recordings have, each with a recording of its name.
_FINDINGS = (
    "early-return-loop",
    "semaphore-early-return",
    "user-space-split-lock",
    "fatal",
    "migration-defeat",
    "semaphore-queue",
    "penalty-slowdown",
    "lock-hold",
    "detection-left-off",
    "toggle-storm",
    "guest-ac",
)

OUTPUTS: Mapping[str, Output] = {
    **{f"finding-{kind}": _finding(kind) for kind in _FINDINGS},
    "log": Output(("sldtrace log kern.log",), {"kern.log": "tests/kernlog/data/cases/one-vm.log"}, lines=30),
    "what-if": Output(("sldtrace report --what-if timer=20ms --what-if mitigate=0 incident.sld",), _INCIDENT),
    "export": Output(
        ("sldtrace export --format jsonl --kind trap -o - incident.sld | sed -n 2p",), _INCIDENT
    ),
    "report-begin": Output(("sldtrace report --brief incident.sld",), _INCIDENT, lines=20),
    "report-brief": Output(("sldtrace report --brief incident.sld",), _INCIDENT),
    "fixes": Output((f"sldtrace report {_FIXES} incident.sld",), _INCIDENT),
    "fleet": Output(("sldtrace fleet recordings",), before=_HOSTS),
    "compare": Output(("sldtrace compare before.sld after.sld",), before=_CHANGE, lines=6),
    "compare-whole": Output(("sldtrace compare before.sld after.sld",), before=_CHANGE),
}
"""By the name in the page's mark."""


def pages() -> list[Path]:
    """The pages that may show outputs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@cache
def text(name: str) -> str:
    """The Markdown between the markers; RuntimeError if a command fails, KeyError without such an output."""
    output = OUTPUTS[name]
    with TemporaryDirectory() as folder:
        for name_there, real in output.files.items():
            (Path(folder) / name_there).symlink_to(ROOT / real)
        if output.before:
            run(output.before, folder)
        shown = [line for command in output.commands for line in _shown(command, folder, output)]
    return "\n".join(["```", *shown, "```", ""])


def _shown(command: str, folder: str, output: Output) -> Iterator[str]:
    yield f"$ {command}"
    lines = run(command, folder).splitlines()
    if output.verdicts:
        yield "..."
        lines = lines[lines.index("") + 1 :]
    yield from lines[: output.lines]
    if output.lines is not None and len(lines) > output.lines:
        yield "..."


def run(command: str, folder: str) -> str:
    """The standard output of a command in that folder; RuntimeError if it fails.

    `sldtrace` in it is that of this checkout, on a terminal of `WIDTH` columns without colours. A command
    of sh has a process; `sldtrace` alone has none, because most of its time is to import pandas.
    """
    if not set("|&") & set(command):
        with contextlib.chdir(folder):
            result = CliRunner().invoke(cli.main, shlex.split(command)[1:], env=_ENVIRONMENT)
        if result.exit_code:
            raise RuntimeError(f"{command}: status {result.exit_code}: {result.stderr}")
        return result.stdout
    program = Path(folder) / ".bin" / "sldtrace"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sldtrace "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        **_ENVIRONMENT,
        "PATH": f"{folder}/.bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: status {done.returncode}: {done.stderr}")
    return done.stdout


def names(page: str) -> list[str]:
    """The outputs that a page shows."""
    return _MARK.findall(page)


def updated(page: str) -> str:
    """The page with fresh outputs; raises SldtraceError when a mark has no end."""
    for name in names(page):
        page = format_page.filled(page, BEGIN.format(name), text(name))
    return page


if __name__ == "__main__":
    for each in pages():
        if names(each.read_text(encoding="utf-8")):
            format_page.write(each, updated)
