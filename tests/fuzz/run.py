"""Makes damaged recordings or logs and every output of them; each in a process of its own, with limits.

`python -m tests.fuzz.run --inputs 1000 --seed 1 [--logs]`. What fails is kept in a folder, with its seed.
"""

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.fuzz import logs, mutations, outputs

SAMPLES = Path(__file__).parents[1] / "reporters" / "recordings"
MEMORY = 300 << 20
"""Bytes that the outputs of one input may take: more is a fault."""
CPU_S = 20
"""CPU seconds for all outputs of one input: more is a fault."""


def attempt(data: bytes, folder: Path, check: Callable[[Path], None] = outputs.check) -> str:
    """Makes all outputs of a file with these bytes; what went wrong, or an empty text."""
    path = folder / "damaged"
    path.write_bytes(data)
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        _child(path, check, ours, theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return said or f"ended by {name}"
    return said


def _child(path: Path, check: Callable[[Path], None], ours: int, theirs: int) -> None:
    os.close(ours)
    try:
        used = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        check(path)
    except BaseException:
        os.write(theirs, traceback.format_exc().encode("utf-8", "backslashreplace")[-8000:])
    finally:
        os._exit(0)


def cause(said: str) -> str:
    """A line that is the same for failures of one cause: where it was, and what."""
    lines = [line.strip() for line in said.strip().splitlines()]
    places = [line for line in lines if line.startswith("File ") and "/sldtrace/" in line]
    where = places[-1].split("/sldtrace/")[-1] if places else ""
    return f"{where}: {lines[-1][:100] if lines else ''}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="how many to try")
    parser.add_argument("--seed", type=int, default=0, help="of the first one; the others follow")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-output"), help="folder for what fails")
    parser.add_argument("--logs", action="store_true", help="logs of the kernel, not recordings")
    options = parser.parse_args()
    check = outputs.check_log if options.logs else outputs.check
    samples = mutations.samples(SAMPLES)
    failures: dict[str, list[int]] = {}
    tried = 0
    # Ctrl-C ends it with the sums so far.
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        for seed in range(options.seed, options.seed + options.inputs):
            rng = random.Random(seed)
            data = logs.damaged(rng) if options.logs else mutations.damaged(rng.choice(samples), rng)
            said = attempt(data, Path(folder), check)
            tried += 1
            if not said:
                continue
            of = failures.setdefault(cause(said), [])
            of.append(seed)
            if len(of) == 1:
                options.keep.mkdir(exist_ok=True)
                (options.keep / f"{seed}").write_bytes(data)
                (options.keep / f"{seed}.txt").write_text(said)
                print(f"seed {seed}: {cause(said)}", flush=True)
    print(f"{tried} inputs, {sum(map(len, failures.values()))} failed, {len(failures)} causes")
    for what, seeds in failures.items():
        print(f"{len(seeds):5}  {what}  (seeds {seeds[:3]})")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
