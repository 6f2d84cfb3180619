"""Makes the recordings of the emulated host that are kept in recordings/ anew, and the reports of all cases.

usage: python -m tests.reporters.from_lab (in the root of the repository; takes minutes)
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.machines import BOOT_OF, ONE_KERNEL, Machine
from tests.reporters import cases


def keep(folder: Path, names: dict[str, str]) -> None:
    """Copies recordings of what a machine has left; names: see cases.FROM_LAB."""
    runs = json.loads((folder / "protocol.json").read_text())["runs"]
    for name, provocation in names.items():
        (cases.RECORDINGS / f"{name}.sld").write_bytes((folder / runs[provocation]["file"]).read_bytes())


def main() -> None:
    """Boots one machine for each part, one after the other."""
    for part, names in cases.FROM_LAB.items():
        machine = Machine(BOOT_OF[part], ONE_KERNEL, (part,))
        print(f"from_lab: {machine}: {part}", flush=True)
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "lab", *machine.arguments(Path(folder))]
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
                sys.exit(f"from_lab: {machine} failed")
            keep(Path(folder) / "out" / part, names)
    cases.main()


if __name__ == "__main__":
    main()
