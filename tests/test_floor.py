"""What is installed runs on the oldest Python that pyproject.toml allows."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text()


def test_no_code_needs_a_newer_python() -> None:
    """By the syntax, and by what the standard library has in each version."""
    floor = re.search(r'^requires-python = ">=([\d.]+)"$', PROJECT, re.MULTILINE)
    assert floor
    vermin = str(Path(sys.executable).with_name("vermin"))
    command = [vermin, "--no-tips", "--violations", f"-t={floor[1]}-", "sldtrace"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
