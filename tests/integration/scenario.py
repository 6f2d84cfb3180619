"""Runs in the emulated host: freezes guests, records them in several ways, leaves recordings and a protocol.

usage: scenario.py FOLDER PART (on a machine with root, /dev/kvm, bcc and tracefs; PART: a module here)

What it measures is judged outside, by the tests; here nothing is asserted. The events are counted a second
time by the kernel itself, in tracefs, which has nothing to do with sldtrace.
"""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from tests.integration.observing import attached

PARTS = ("verdicts", "limits", "production", "findings", "by_hand")


def main():
    """One part, in one boot."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    before = attached()
    protocol = import_module(f"tests.integration.{PARTS[PARTS.index(sys.argv[2])]}").run(folder)
    protocol |= {"kernel": os.uname().release}
    # A part after which tracefs is closed has looked itself.
    after = protocol.pop("attached") if "attached" in protocol else at_rest(before)
    protocol["left"] = {"before": before, "after": after}
    (folder / "protocol.json").write_text(json.dumps(protocol, indent=1))


def at_rest(before):
    """What is attached once it is as before, or in five seconds: the kernel frees maps from a work queue."""
    deadline = time.monotonic() + 5
    while (after := attached()) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return after


main()
