"""The completions are scripts of their shells, and ask sldtrace itself what comes next."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import completions

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("shell", completions.FILES)
def test_a_script_is_valid(shell: str, tmp_path: Path) -> None:
    paths = {path.name: path for path in completions.write(tmp_path)}
    path = paths[completions.FILES[shell]]
    assert "_SLDTRACE_COMPLETE" in path.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(path)], check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sldtrace re", {"record", "report"}),
        ("sldtrace guest sw", {"sweep"}),
        ("sldtrace check --fo", {"--format"}),
    ],
)
def test_commands_and_options_are_completed(words: str, expected: set[str]) -> None:
    asked = {"_SLDTRACE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    run = subprocess.run(
        [sys.executable, "-m", "sldtrace"],
        env={**os.environ, **asked},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert {line.partition(",")[2] for line in run.stdout.splitlines()} == expected
