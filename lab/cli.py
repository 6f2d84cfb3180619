"""The command line of the lab: build, run, status, clean."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import FrameType

from lab import artefacts, cache, limits, machine, module, rootfs, status
from lab.failures import LabError
from lab.job import REPOSITORY, Job
from lab.kernel import DEFAULT, KERNELS, canonical
from lab.packages import Archive
from lab.progress import Progress

EXIT_USAGE = 2

_DESCRIPTION = """\
An emulated Intel host with split-lock detection that boots stock Debian kernels.

The first run builds what is missing: the emulator (Bochs 3.0 from Debian's source with the patches
in lab/patches), one Debian trixie root file system with Python and bcc, and the kernels. It is kept
in $SLDTRACE_CACHE/lab, else $XDG_CACHE_HOME/sldtrace/lab, else ~/.cache/sldtrace/lab.
"""
_STATUS = """\
exit status: that of CMD for `run`; 0 success, 2 usage error, 124 a limit was reached (--machine-time,
--stalled or --timeout), 125 the lab failed or does not have what was asked for, 130 or 143 ended by
Ctrl-C or SIGTERM. One line on stderr says why, and where the logs of the machine are.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit status; expected failures are one line on stderr."""
    parser = _parser()
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(given)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        result: int = arguments.action(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has closed the pipe: end as a filter does, without a second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return result


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        description=_DESCRIPTION,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    names, roots = ", ".join(KERNELS), ", ".join(rootfs.ROOTS)

    build = commands.add_parser("build", help="build what is missing", description="Build what is missing.")
    build.add_argument(
        "--kernel", action="append", metavar="K", help=f"only this kernel ({names}); may be repeated"
    )
    build.add_argument(
        "--root", action="append", metavar="R", help=f"this root file system ({roots}); default plain"
    )
    build.add_argument("--update", action="store_true", help="look for newer packages; needs the network")
    build.set_defaults(action=_build)

    run = commands.add_parser(
        "run",
        help="boot a machine and run a command in it",
        description="Boot a machine, run CMD in it (as root, in /sldtrace, which holds the checkout)\n"
        "and return its exit status. Its output goes to stdout as it is written.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="python -m lab run [options] -- CMD...",
    )
    run.add_argument("--kernel", default=DEFAULT, metavar="K", help=f"{names} (default {DEFAULT})")
    run.add_argument(
        "--root", default=rootfs.DEFAULT, metavar="R", help=f"{roots} (default {rootfs.DEFAULT})"
    )
    run.add_argument(
        "--cpus", type=int, default=1, metavar="N", help="1 (default; two runs give the same output) or 2"
    )
    run.add_argument(
        "--split-lock-detect", metavar="MODE", help="boot parameter: off, warn, fatal, ratelimit:N"
    )
    run.add_argument("--mitigate", type=int, choices=(0, 1), help="sysctl kernel.split_lock_mitigate")
    run.add_argument("--append", default="", metavar="WORDS", help="words added to the kernel command line")
    run.add_argument("--memory", type=int, default=1024, metavar="MB", help="default 1024")
    limits.add_options(run)
    run.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="an environment variable for CMD"
    )
    run.add_argument(
        "--tree",
        type=Path,
        default=REPOSITORY,
        metavar="DIR",
        help="the folder put at /sldtrace (default: the checkout)",
    )
    run.add_argument(
        "--put",
        action="append",
        default=[],
        metavar="FILE[:PATH]",
        help="copy a file of this host to PATH in the machine (default /tmp/NAME)",
    )
    run.add_argument(
        "--module",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="build the kernel modules of DIR, which has a Makefile of kbuild, and put them into /tmp",
    )
    run.add_argument(
        "--put-kernel",
        metavar="PATH",
        help="copy the machine's kernel to PATH in it, and its modules to PATH.modules/, for a VM",
    )
    run.add_argument(
        "--fetch",
        action="append",
        default=[],
        metavar="PATH",
        help="copy a file or folder of the machine to the folder of --out; may be repeated",
    )
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder for fetched files, each under its last name"
    )
    run.add_argument("--quiet", action="store_true", help="no progress on stderr")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD", help="the command, after --")
    run.set_defaults(action=_run)

    show = commands.add_parser("status", help="what is in the cache", description="What is in the cache.")
    show.set_defaults(action=_status)
    clean = commands.add_parser("clean", help="empty the cache", description="Remove the lab's cache.")
    clean.add_argument("--old", action="store_true", help="only artefacts that the lab does not use")
    clean.set_defaults(action=_clean)
    return parser


def _build(arguments: argparse.Namespace) -> int:
    names = [canonical(name) for name in arguments.kernel or KERNELS]
    roots = [rootfs.known(name) for name in arguments.root or [rootfs.DEFAULT]]
    artefacts.ensure(names, Progress(), update=arguments.update, roots=roots)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    progress = Progress(quiet=arguments.quiet)
    with tempfile.TemporaryDirectory(prefix="sldtrace-lab-") as folder:
        return _run_with(arguments, _modules(arguments, Path(folder), progress), progress)


def _modules(arguments: argparse.Namespace, into: Path, progress: Progress) -> dict[str, Path]:
    if not arguments.module:
        return {}
    archive, kernel = Archive(progress), canonical(arguments.kernel)
    built = [
        path for source in arguments.module for path in module.build(archive, kernel, source, into, progress)
    ]
    return {f"/tmp/{path.name}": path for path in built}


def _run_with(arguments: argparse.Namespace, modules: dict[str, Path], progress: Progress) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    job = Job(
        command=command,
        kernel=arguments.kernel,
        root=arguments.root,
        cpus=arguments.cpus,
        split_lock_detect=arguments.split_lock_detect,
        mitigate=arguments.mitigate,
        append=arguments.append,
        memory=arguments.memory,
        **limits.chosen(arguments),
        environment=dict(_pair(text) for text in arguments.env),
        tree=arguments.tree,
        put=dict(_put(text) for text in arguments.put) | modules,
        put_kernel=arguments.put_kernel,
        fetch=arguments.fetch,
        out=arguments.out,
    )
    result = machine.run(job, progress, _write)
    for path in result.missing:
        print(f"lab: the machine has no {path}", file=sys.stderr)
    if result.status:
        progress.stage(f"the command returned {result.status}; logs: {result.logs}")
    return result.status


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise LabError(f"--env {text} has no =", "write --env NAME=VALUE")
    return name, value


def _put(text: str) -> tuple[str, Path]:
    source, colon, path = text.rpartition(":")
    if not colon:
        source, path = text, f"/tmp/{PurePosixPath(text).name}"
    return path, Path(source)


def _status(arguments: argparse.Namespace) -> int:
    print(status.text())
    return 0


def _clean(arguments: argparse.Namespace) -> int:
    progress = Progress()
    for path in status.unused() if arguments.old else [cache.folder()]:
        if path.exists():
            shutil.rmtree(path)
            progress.stage(f"removed {path}")
    return 0
