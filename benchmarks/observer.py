"""What observing costs KVM guests in the lab: sldtrace beside bpftrace, perf and trace-cmd, in one boot.

Exit status: 0 everything that must hold holds; 1 something does not, or could not be measured (also when an
observer is missing); 2 usage; 124 and 125 as the lab says. Ratios of one run, not absolute times: one
instruction is one tick of the lab's clock.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.observers import outcome, plan, text, verdict
from benchmarks.observers.plan import Plan
from benchmarks.observers.table import GUESTS, OBSERVERS, Observer, Ready
from lab import limits, machine
from lab.failures import LabError
from lab.job import Job
from lab.kernel import DEFAULT
from lab.progress import Progress


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one boot and prints the table, or JSON; returns the exit status."""
    options = _parser().parse_args(argv)
    observers = [one for one in OBSERVERS if _wanted(one.name, options.only)]
    observers += [Observer(line, "-", tuple(shlex.split(line)), Ready()) for line in options.also]
    guests = [replace(one, seconds=options.seconds * one.seconds) for one in GUESTS]
    wanted = Plan(guests, observers)
    try:
        measured = _measure(wanted, options.kernel, limits.chosen(options), Progress())
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return error.exit_status
    found = outcome.of(wanted, measured)
    checks = verdict.judge(found)
    if options.json:
        result = found.as_json() | {"checks": [{"text": one.text, "holds": one.holds} for one in checks]}
        print(json.dumps(result, indent=2))
    else:
        print(text.render(found, checks))
    return int(not all(check.holds for check in checks))


def _measure(wanted: Plan, kernel: str, chosen: limits.Chosen, progress: Progress) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "plan.json").write_text(plan.text(wanted))
        job = Job(
            ["python3", "-m", "benchmarks.observers.inside", "/tmp/plan.json", "/tmp/result.json"],
            kernel=kernel,
            # The other programs are in a root file system of their own, which takes minutes to build.
            root="plain" if all(one.ours for one in wanted.observers) else "tracers",
            **chosen,
            put={"/tmp/plan.json": Path(folder) / "plan.json"},
            fetch=["/tmp/result.json"],
            out=Path(folder),
        )
        done = machine.run(job, progress, lambda data: _show(progress, data))
        if done.status:
            said = done.output.decode("utf-8", "backslashreplace").strip().splitlines()
            raise LabError(f"the measurement failed: {said[-1] if said else 'no word'}", f"see {done.logs}")
        result: dict[str, object] = json.loads(done.files["/tmp/result.json"].read_text())
        return result


def _show(progress: Progress, data: bytes) -> None:
    for line in data.decode("utf-8", "backslashreplace").splitlines():
        progress.stage(line)


def _wanted(name: str, only: list[str]) -> bool:
    return not only or any(name.startswith(start) for start in only)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernel", default=DEFAULT, help=f"of the lab (default {DEFAULT})")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="observers whose names begin so; repeatable",
    )
    parser.add_argument(
        "--also", action="append", default=[], metavar="COMMAND", help="one more observer: a command line"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        help="of the machine, for each guest (default 1), three times that for the livelock",
    )
    limits.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
