"""What the recorder asks of the scheduler, in a child: the kernel under the tests answers."""

import json
import subprocess
import sys
from typing import Any

import pytest

from sldtrace.capture import scheduling
from sldtrace.host import kernel

# The niceness can only be raised where there is no right to lower it; no autogroup is an empty file too.
ASK = """
import json, os
from sldtrace.capture import scheduling as s

def group():
    try:
        return s._AUTOGROUP.read_text()
    except OSError:
        return ""

def may():
    try:
        return bool(s._AUTOGROUP.write_text("10"))
    except OSError:
        return False

os.setpriority(os.PRIO_PROCESS, 0, max({nice}, os.getpriority(os.PRIO_PROCESS, 0)))
before = s._get()
nice, given = os.getpriority(os.PRIO_PROCESS, 0), group()
s.lower_priority()
after = s._get()
print(json.dumps({{
    "known": before is not None,
    "before": nice,
    "after": os.getpriority(os.PRIO_PROCESS, 0),
    "policies": [one and one[1] for one in (before, after)],
    "slice_ns": s.slice_ns(),
    "groups": [given, group()],
    "may": {leads} and may(),
}}))
"""


def child(nice: int, leads: bool) -> dict[str, Any]:
    """The answer of a child with lower priority; skipped where it may not ask, or has another policy."""
    command = [sys.executable, "-c", ASK.format(nice=nice, leads=leads)]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=leads, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    if not found["known"]:
        pytest.skip("the tests run under another policy than SCHED_OTHER, or may not ask for it")
    return found


@pytest.mark.parametrize("before", [0, 15])
def test_it_is_nice_and_its_slices_are_short(before: int) -> None:
    found = child(before, leads=False)
    assert found["before"] >= before
    assert found["after"] == max(found["before"], scheduling.NICE)
    assert found["policies"][0] == found["policies"][1]
    if kernel.version(kernel.release()) < (6, 12):
        pytest.skip("this kernel knows no slices of one's own")
    assert found["slice_ns"] == scheduling.SLICE_NS


def test_the_session_is_nice_only_where_it_is_the_recorders_own() -> None:
    before, after = child(0, leads=False)["groups"]
    assert before == after
    led = child(0, leads=True)
    if not led["may"] or led["before"] >= scheduling.NICE:
        pytest.skip("the niceness of a session cannot be set here, or the tests are nice themselves")
    assert led["groups"][1].split()[-1] == str(scheduling.NICE)


def test_other_policies_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        calls: list[int] = []  # noqa: RUF012

        @classmethod
        def syscall(cls, number: int, *_: object) -> int:
            cls.calls.append(number)
            return -1

    monkeypatch.setattr(scheduling, "libc", Kernel)
    scheduling.lower_priority()
    assert Kernel.calls == [315]
    assert scheduling.slice_ns() == 0
