"""click's test runner as it is since click 8.2, also with click 8.1: it keeps the two outputs apart."""

import inspect
from typing import Any

from click import testing


def keep_outputs_apart() -> None:
    """Where click is older, makes `CliRunner` and its results like those of 8.2."""
    runner: Any = testing.CliRunner
    result: Any = testing.Result
    make = runner.__init__
    if "mix_stderr" not in inspect.signature(make).parameters:
        return
    runner.__init__ = lambda *args, **options: make(*args, **{"mix_stderr": False, **options})
    # In 8.2 both as a terminal shows them; here one after the other.
    result.output = property(lambda each: each.stdout + each.stderr)
