"""Makes the recordings of the emulated host that are kept in recordings/ anew, and the reports of all cases.

usage: python -m tests.reporters.from_lab (in the root of the repository; about five minutes)
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.machines import MACHINES
from tests.reporters import cases


def keep(folder: Path, names: dict[str, str]) -> None:
    """Copies recordings of what a machine has left; names: see cases.FROM_LAB."""
    runs = json.loads((folder / "protocol.json").read_text())["runs"]
    for name, provocation in names.items():
        (cases.RECORDINGS / f"{name}.sld").write_bytes((folder / runs[provocation]["file"]).read_bytes())


def main() -> None:
    """Boots the machines one after the other."""
    for machine, names in cases.FROM_LAB.items():
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "lab", *MACHINES[machine].arguments(Path(folder))]
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
                sys.exit(f"from_lab: the machine {' '.join(machine)} failed")
            keep(Path(folder) / "out", names)
    cases.main()


if __name__ == "__main__":
    main()
