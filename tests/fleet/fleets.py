"""Recordings of made-up hosts: small ones, so that there can be many."""

from pathlib import Path
from typing import Any

from tests.analyzers.synthetic import FACTS, LONGEST, MS, VMM, completed, facts, lasting, loop, write

KERNELS = ("6.1.0-50-amd64", "6.12.48+deb13-amd64")

ROWS: tuple[list[dict[str, Any]], ...] = (
    loop(160),  # a livelock of 160 ms
    [completed(index * 300 * MS) for index in range(5)],  # unaffected
    lasting(2 * LONGEST, 30),  # delayed
    [],  # nothing at all
)
"""What the hosts have recorded, in turn."""


def host(path: Path, number: int, name: str = "", **more: Any) -> Path:
    """The recording of host `number`; its VM is named after it."""
    name = name or f"host-{number:04}"
    vm = {"name": f"vm-{number:04}", "uuid": None, "id": None, "namespace": None, "pod": None}
    opening = facts(
        host={"name": name, "boot_id": f"boot-{number}"},
        kernel={**FACTS["kernel"], "release": KERNELS[number % len(KERNELS)]},
    )
    who = {"comm": "qemu-system-x86", "exe": "/usr/bin/qemu-system-x86_64", "vmm": "qemu", "vm": vm}
    opening["processes"] = {str(VMM): who}
    return write(path, ROWS[number % len(ROWS)], opening=opening, **more)


def fleet(folder: Path, count: int) -> Path:
    """So many hosts, a subdirectory each."""
    for number in range(count):
        path = folder / f"rack-{number % 7}" / f"host-{number:04}.sld"
        path.parent.mkdir(parents=True, exist_ok=True)
        host(path, number)
    return folder
