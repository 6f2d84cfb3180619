"""`make figure`: sweeps the guest's timer on emulated hosts, and draws the picture that the README shows.

usage: python -m examples.figure [KERNEL]... (in the root of the repository; a few minutes a kernel)

Keeps what was measured beside the picture, in docs/figure; kernels that are not named keep their data.
"""

import json
import subprocess
import sys
from itertools import groupby

from lab import kernel, machine
from lab.failures import LabError
from lab.job import REPOSITORY, Job
from lab.progress import Progress

FOLDER = REPOSITORY / "docs" / "figure"
# One kernel for each length of the penalty.
KERNELS = tuple(
    next(alike).name for _, alike in groupby(kernel.KERNELS.values(), key=lambda each: each.sleep_jiffies)
)
PICTURE = FOLDER / "sweep.svg"
SWEEP = ["python3", "-m", "sldtrace", "guest", "sweep", "--mitigate", "both", "--format=json"]


def measure(name: str) -> None:
    """One machine; writes NAME.json."""
    job = Job(["sh", "-c", f"{' '.join(SWEEP)} 2>/dev/null"], kernel=name)
    result = machine.run(job, Progress())
    if result.status:
        sys.exit(f"figure: the sweep on {name} failed:\n{result.output.decode(errors='replace')}")
    found = json.loads(result.output)
    points = ",\n".join(json.dumps(point) for point in found.pop("points"))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(f'{json.dumps(found)[:-1]}, "points": [\n{points}\n]}}\n')


def draw() -> int:
    """All kernels in one picture; the status of the command."""
    files = [str(FOLDER / f"{name}.json") for name in KERNELS]
    command = [sys.executable, "-m", "sldtrace", "guest", "plot", *files, "--figure", str(PICTURE)]
    return subprocess.run(command, cwd=REPOSITORY).returncode


def main() -> int:
    """Measures the kernels that are named, or all, and draws."""
    for name in sys.argv[1:] or KERNELS:
        if name not in KERNELS:
            sys.exit(f"figure: {name} is none of {', '.join(KERNELS)}")
        measure(name)
    return draw()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"figure: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
