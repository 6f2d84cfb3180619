"""What the recorder asks of the scheduler, in a child: the kernel of whoever runs the tests is asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from sldtrace.capture import scheduling
from sldtrace.host import kernel

ASK = """
import os
from sldtrace.capture import scheduling as s
os.setpriority(os.PRIO_PROCESS, 0, {nice})
before = s._get()
s.give_way()
group = s._AUTOGROUP.read_text().split()[-1] if s._AUTOGROUP.exists() else "none"
print(s.turn_ns(), os.getpriority(os.PRIO_PROCESS, 0), s._get()[1] - before[1], group)
"""


def told(nice: int, leads: bool) -> list[str]:
    command = [sys.executable, "-c", ASK.format(nice=nice)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=leads)
    return done.stdout.split()


@pytest.mark.parametrize(("before", "after"), [(0, scheduling.NICE), (15, 15)])
def test_it_is_nice_and_its_slices_are_short(before: int, after: int) -> None:
    turn, nice, policy, _ = told(before, leads=False)
    assert (int(nice), int(policy)) == (after, 0)
    if kernel.version(kernel.release()) < (6, 12):
        pytest.skip("this kernel knows no slices of one's own")
    assert int(turn) == scheduling.TURN_NS


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no autogroups")
def test_the_session_is_nice_only_where_it_is_the_recorders_own() -> None:
    before = scheduling._AUTOGROUP.read_text()
    assert told(0, leads=True)[-1] == str(scheduling.NICE)
    told(0, leads=False)
    assert scheduling._AUTOGROUP.read_text() == before


def test_other_policies_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        calls: list[int] = []  # noqa: RUF012

        @classmethod
        def syscall(cls, number: int, *_: object) -> int:
            cls.calls.append(number)
            return -1

    monkeypatch.setattr(scheduling, "_libc", Kernel)
    scheduling.give_way()
    assert Kernel.calls == [315]
    assert scheduling.turn_ns() == 0
