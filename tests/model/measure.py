"""Measures in the emulated host what the model is held against, and keeps it in data/.

usage: python -m tests.model.measure [KERNEL]... (in the root of the repository; about four minutes a kernel)

For each kernel a recording of half a second of a guest with a 1 ms timer, from which everything is predicted,
and a table of what the same guest did under every timer, penalized and not, counted without sldtrace.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lab import machine
from lab.job import Job
from lab.kernel import KERNELS
from lab.progress import Progress

DATA = Path(__file__).parent / "data"


def measure(kernel: str, folder: Path) -> None:
    """One machine; writes KERNEL.sld and KERNEL.json."""
    command = ["python3", "tests/integration/timers.py", "/tmp/out"]
    job = Job(command, kernel=kernel, fetch=["/tmp/out"], out=folder)
    result = machine.run(job, Progress())
    if result.status:
        sys.exit(f"measure: the machine with {kernel} failed:\n{result.output.decode(errors='replace')}")
    keep(kernel, result.files["/tmp/out"])


def keep(kernel: str, found: Path) -> None:
    """Puts what a machine brought back to the data."""
    table = json.loads((found / "table.json").read_text())
    rows = ",\n".join(json.dumps(row) for row in table["rows"])
    (DATA / f"{kernel}.json").write_text(f'{{"kernel": "{table["kernel"]}", "rows": [\n{rows}\n]}}\n')
    (DATA / f"{kernel}.sld").write_bytes((found / "calibration.sld").read_bytes())


def main() -> None:
    """All kernels, or those that are named."""
    for kernel in sys.argv[1:] or KERNELS:
        with TemporaryDirectory() as folder:
            measure(kernel, Path(folder))


if __name__ == "__main__":
    main()
