"""Runs in the emulated host: parts that freeze guests and record them; leaves recordings and protocols.

usage: scenario.py FOLDER PART... (with root, /dev/kvm, bcc and tracefs; PART: see PARTS)

Each part leaves its files in FOLDER/PART, with what happened in protocol.json there. What it measures is
judged outside, by the tests; here nothing is asserted. The events are counted a second time by the kernel
itself, in tracefs, which has nothing to do with sldtrace.
"""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from tests.integration.observing import Protocol, attached

# Where the function of a part is; it gets the part's folder and returns the protocol.
PARTS = {
    "scenario": "tests.integration.verdicts:run",
    "limits": "tests.integration.limits:run",
    "production": "tests.integration.production:run",
    "findings": "tests.integration.findings:run",
    "findings_fatal": "tests.integration.findings:run",
    "findings_off": "tests.integration.findings:run",
    "findings_ratelimit": "tests.integration.findings:run",
    "by_hand": "tests.integration.by_hand:run",
    "soak": "tests.integration.soak:run",
    "guests_stress": "tests.vmm.guests_in_lab:stress",
    "guests_sweep": "tests.vmm.guests_in_lab:swept",
    "guests_off": "tests.vmm.guests_in_lab:off",
    "guests_fatal": "tests.vmm.guests_in_lab:fatal",
    "vmm": "tests.integration.vmms:run",
    "vmms": "tests.integration.vmms:matrix",
    "linux_vm": "tests.integration.linux_vm:run",
    "nested_vm": "tests.integration.nested_vm:run",
    "fixes": "tests.integration.fixes:run",
    "cost": "tests.benchmarks.cost_in_lab:run",
}


def main() -> None:
    """The parts, in one boot."""
    _, folder, *parts = sys.argv
    for part in parts:
        print(f"part {part}", flush=True)
        run(part, Path(folder) / part)


def run(part: str, folder: Path) -> None:
    """One part; its protocol also has what it took, in seconds of the machine, and what it left attached."""
    folder.mkdir(parents=True)
    begun, before = time.monotonic(), attached()
    module, function = PARTS[part].split(":")
    protocol = getattr(import_module(module), function)(folder)
    protocol |= {"kernel": os.uname().release}
    # A part after which tracefs is closed has looked itself.
    after = protocol.pop("attached") if "attached" in protocol else at_rest(before)
    protocol |= {"left": {"before": before, "after": after}, "took_s": time.monotonic() - begun}
    (folder / "protocol.json").write_text(json.dumps(protocol, indent=1))


def at_rest(before: Protocol) -> Protocol:
    """What is attached once it is as before, or in five seconds: the kernel frees maps from a work queue."""
    deadline = time.monotonic() + 5
    while (after := attached()) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return after


if __name__ == "__main__":
    main()
