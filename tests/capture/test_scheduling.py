"""The recorder's time slice, in a child: the kernel of whoever runs the tests is asked."""

import subprocess
import sys

import pytest

from sldtrace.capture import scheduling
from sldtrace.host import kernel


def test_the_slice_is_short_and_the_priority_stays() -> None:
    code = (
        "import os; from sldtrace.capture import scheduling as s; os.nice(3); before = s._get();"
        " s.take_short_turns(); after = s._get();"
        " print(s.turn_ns(), os.getpriority(os.PRIO_PROCESS, 0) - before[3], after[1] - before[1])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    turn, nice, policy = map(int, told.split())
    assert (nice, policy) == (0, 0)
    if kernel.version(kernel.release()) < (6, 12):
        pytest.skip("this kernel knows no slices of one's own")
    assert turn == scheduling.TURN_NS


def test_other_policies_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        calls: list[int] = []  # noqa: RUF012

        @classmethod
        def syscall(cls, number: int, *_: object) -> int:
            cls.calls.append(number)
            return -1

    monkeypatch.setattr(scheduling, "_libc", Kernel)
    scheduling.take_short_turns()
    assert Kernel.calls == [315]
    assert scheduling.turn_ns() == 0
