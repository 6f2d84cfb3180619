"""`make demo`: boots the emulated host, freezes a guest on it, records it, prints the reports outside."""

import argparse
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import FrameType

from lab import limits, machine
from lab.failures import LabError
from lab.job import REPOSITORY, Job
from lab.kernel import DEFAULT
from lab.progress import Progress

OUT = REPOSITORY / "demo-output"
# What the demo takes of the machine's own time: 6 s to boot, 43 s for each recording, nearly all of
# them to compile the probes with LLVM.
_MACHINE_TIME = 92.0

_IN_THE_MACHINE = """
sh examples/freeze.sh /tmp/frozen.sld
echo
echo "$ sysctl kernel.split_lock_mitigate=0"
echo 0 > /proc/sys/kernel/split_lock_mitigate
sh examples/freeze.sh /tmp/not_penalized.sld
"""


def say(text: str) -> None:
    """A paragraph of the story, set apart from what the tools print."""
    print(f"\n{textwrap.indent(textwrap.fill(' '.join(text.split()), 96), '| ')}\n", flush=True)


def main(arguments: argparse.Namespace) -> int:
    """Runs the story; the status is that of whatever failed, or 1 when a report is not what it must be."""
    say(
        """A host of the Tiger Lake family is booted in software, with split-lock detection and a stock Debian
        kernel. On it a guest runs that loops on one instruction, a `lock bts` whose operand crosses a
        cache line. Its monitor interrupts it after each millisecond, as a VMM with a timer does. Beside it,
        sldtrace records what the kernel does. Then the same with the kernel's penalty switched off."""
    )
    say(
        """That takes about five minutes on two idle cores: ten to twenty seconds to boot the host, nearly all
        the rest to compile the probes on it, once for each recording. The first run also builds the
        emulator and its system, five minutes more. A slow or busy machine takes longer, and is not ended for
        that: a line each half minute shows how far it is, in the emulated machine's own seconds."""
    )
    progress = Progress()
    job = Job(
        command=["sh", "-ec", _IN_THE_MACHINE],
        kernel=DEFAULT,
        fetch=["/tmp/frozen.sld", "/tmp/not_penalized.sld"],
        out=OUT,
        expected=_MACHINE_TIME,
        **limits.chosen(arguments),
    )
    result = machine.run(job, progress, sink=_show)
    if result.status:
        return result.status

    say(
        """The host is off; the two recordings are here. First the guest that did not finish a single loop.
        The report needs no root, no eBPF and not that host."""
    )
    frozen = report(OUT / "frozen.sld")
    say(
        """Second the guest that made progress, on the same kernel with the same timer, without the penalty
        (kernel.split_lock_mitigate=0)."""
    )
    not_penalized = report(OUT / "not_penalized.sld")
    command = f".venv/bin/sldtrace report --format json {OUT.name}/frozen.sld"
    say(f"The recordings are in {OUT.name}/; try: {command}")
    if (frozen, not_penalized) != (3, 0):
        print("demo: the reports are not what they must be (a livelock, then nothing)", file=sys.stderr)
        return 1
    return 0


def report(path: Path) -> int:
    """Shows the command and its output; returns its status: 3 when there is a critical finding."""
    shown = path.relative_to(REPOSITORY)
    print(f"$ sldtrace report --fail-on critical {shown}\n", flush=True)
    command = [sys.executable, "-m", "sldtrace", "report", "--fail-on", "critical", str(path)]
    return subprocess.run(command, cwd=REPOSITORY).returncode


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _terminate)
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    limits.add_options(parser)
    try:
        sys.exit(main(parser.parse_args()))
    except LabError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
