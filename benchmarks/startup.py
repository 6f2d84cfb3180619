"""How long `sldtrace --help` and `report --brief` take, beside the imports that they cannot do without.

`--help` beside `import click`, and `report --brief` of a small recording beside `import numpy` and `import
pandas`. All take turns in each round, each in a new process with compiled modules. CPU seconds, system time
included; the fastest of the rounds counts, and the median is printed too.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "tests" / "reporters" / "recordings" / "lab-early-return-loop.sld"
CODE = "import sys; from sldtrace.__main__ import main; main()"  # as the script that pip installs
WAYS = {
    "import click": ["-c", "import click"],
    "--help": ["-c", CODE, "--help"],
    "import numpy": ["-c", "import numpy"],
    "import pandas": ["-c", "import pandas"],
    "report --brief": ["-c", CODE, "report", "--brief", str(RECORDING)],
}
RATIOS = (
    ("--help", "import click"),
    ("report --brief", "import numpy"),
    ("report --brief", "import pandas"),
)


def cpu_seconds(arguments: list[str]) -> float:
    """Of a Python with these arguments, whose output is discarded. Raises SystemExit if it fails."""
    null = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # with it nothing would be compiled before the rounds
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], environment, file_actions=[null])
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"python {' '.join(arguments)} failed")
    return usage.ru_utime + usage.ru_stime


def measure(rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each way in each round. One more round comes first: it compiles modules."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds + 1):
        for name, arguments in WAYS.items():
            times[name].append(cpu_seconds(arguments))
    return {name: values[1:] for name, values in times.items()}


def main() -> None:
    """Prints times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    times = measure(parser.parse_args().rounds)
    for name, values in times.items():
        print(f"{name:16}{min(values) * 1e3:7.0f} ms, median {statistics.median(values) * 1e3:5.0f} ms")
    for name, floor in RATIOS:
        print(f"{name} / {floor}: {min(times[name]) / min(times[floor]):.2f}")


if __name__ == "__main__":
    main()
