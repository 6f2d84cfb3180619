"""The type checker accepts the whole tree. As a test, it runs while an emulated host is at work."""

import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent


def test_types() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=_REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
