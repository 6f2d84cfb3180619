"""Ctrl-C at any moment of a report ends it by SIGINT, without a traceback.

A moment is a number of function calls, so that it does not depend on how fast the machine is.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analyzers.synthetic import loop, write

ROOT = Path(__file__).parents[2]

RUN = """
import atexit, os, signal, sys
moments, preload = eval(sys.argv[1]), sys.argv[2]
def run(moment):
    '''The status of a report with SIGINT at that call; None: none, and the number of calls is printed.'''
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    calls = 0
    def count(frame, event, argument):
        nonlocal calls
        if event == "call":
            calls += 1
            if calls == moment:
                sys.setprofile(None)
                os.kill(os.getpid(), signal.SIGINT)
    if moment is None:
        atexit.register(lambda: os.write(2, str(calls).encode()))
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    sys.argv = ["sldtrace", *sys.argv[3:]]
    from sldtrace.__main__ import main
    sys.setprofile(count)
    main()
if preload:  # or each child imports it, and has Ctrl-C in that
    import sldtrace.commands.report, sldtrace.reporters.report
print(*(run(moment) for moment in moments), flush=True)
"""


def run(moments: list[int | None], path: Path, preload: bool, *options: str) -> tuple[list[int], list[str]]:
    """The statuses as of wait(2), and the lines on stderr."""
    arguments = [repr(moments), "preload" if preload else "", "report", str(path), *options]
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    return [int(status) for status in done.stdout.split()], done.stderr.splitlines()


@pytest.mark.parametrize("options", [(), ("--format", "html"), ("--what-if", "timer=20ms")])
def test_ctrl_c_while_options_are_parsed_and_while_it_reads_and_prints(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.sld", loop(200))
    (status,), (calls,) = run([None], path, True, *options)
    assert status == 0
    first, last = list(range(1, 600, 150)), int(calls)
    # Not near its end: another run can have a few calls less, and have ended by then.
    moments = [*first, *(last * part // 6 for part in range(1, 6))]
    statuses, said = run([*moments], path, True, *options)
    assert statuses == [signal.SIGINT] * len(moments)
    assert set(said) == {"sldtrace: interrupted"}


def test_ctrl_c_while_a_report_imports(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sld", loop(200))
    moments = [300, 10_000, 120_000]
    statuses, said = run([*moments], path, False)
    assert statuses == [signal.SIGINT] * len(moments)
    assert set(said) <= {"sldtrace: interrupted"}
