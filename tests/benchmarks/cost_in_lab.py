"""Runs in the emulated host: what sldtrace costs guests, for the tests to judge.

usage: cost_in_lab.py FOLDER PART (there is only one). Leaves FOLDER/protocol.json, see inside.measure.
"""

import json
import sys
from pathlib import Path

from benchmarks.observers.inside import measure
from benchmarks.observers.plan import Plan
from benchmarks.observers.table import GUESTS, OBSERVERS

PLAN = Plan(GUESTS, [one for one in OBSERVERS if one.ours])


def main() -> None:
    """The part of the benchmark that is sldtrace's, in one boot."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "protocol.json").write_text(json.dumps(measure(PLAN)))


if __name__ == "__main__":
    main()
