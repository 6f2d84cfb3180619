"""The sysctl that is put back by a process of its own, whatever becomes of the one that has set it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.vmm import mitigate
from tests import leftovers
from tests.waiting import until


@pytest.fixture
def sysctl(tmp_path: Path) -> Path:
    path = tmp_path / "split_lock_mitigate"
    path.write_text("1\n")
    return path


def test_it_is_set_in_between_and_nothing_is_left(sysctl: Path) -> None:
    before = leftovers.children(), leftovers.files()
    with mitigate.set_for_block(0, sysctl):
        assert sysctl.read_text() == "0\n"
    assert sysctl.read_text() == "1\n"
    assert (leftovers.children(), leftovers.files()) == before


def test_a_process_that_is_killed_with_its_terminal_leaves_it_as_it_was(sysctl: Path) -> None:
    script = (
        "import time; from pathlib import Path; from sldtrace.vmm import mitigate\n"
        f"with mitigate.set_for_block(0, Path({str(sysctl)!r})):\n"
        "    print('set', flush=True); time.sleep(3600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "set\n"
        assert sysctl.read_text() == "0\n"
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            (keeper,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(keeper), number)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout.read() == ""  # the keeper does not hold a pipe open that is not its own
    until(lambda: sysctl.read_text() == "1\n", "the old value")


def test_where_it_cannot_be_put_back_the_command_is_said(sysctl: Path) -> None:
    with (
        pytest.raises(
            SldtraceError, match=r"not be restored; restore it: sysctl kernel.split_lock_mitigate=1$"
        ),
        mitigate.set_for_block(0, sysctl),
    ):
        sysctl.unlink()


def test_where_it_cannot_be_set_nothing_changes(sysctl: Path) -> None:
    before = leftovers.children()
    refused = pytest.raises(SldtraceError, match="cannot be set: Is a directory; run as root")
    with refused, mitigate.set_for_block(0, sysctl.parent):
        pytest.fail("it was not set")
    assert leftovers.children() == before
