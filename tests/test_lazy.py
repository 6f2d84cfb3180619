"""A module that is imported when it is used first."""

import subprocess
import sys
from pathlib import Path

import pytest

from sldtrace.lazy import Lazy

ROOT = Path(__file__).resolve().parent.parent


def test_it_is_imported_at_its_first_use() -> None:
    code = (
        "import sys; from sldtrace.lazy import Lazy; colors = Lazy('colorsys')\n"
        "before = 'colorsys' in sys.modules\n"
        "print(before, colors.rgb_to_hsv(0, 0, 0), 'colorsys' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout == "False (0.0, 0.0, 0) True\n"


def test_one_that_is_missing_is_an_error_at_its_use() -> None:
    missing = Lazy("no_such_module")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = missing.name
