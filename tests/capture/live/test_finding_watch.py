"""What is printed and given to the command when a loop is found while the recorder runs."""

import os
import threading
from pathlib import Path

import pytest

from sldtrace.capture.live import finding_watch
from sldtrace.capture.live.finding_watch import LIVELOCK, LOOP, FindingOptions, FindingWatch
from sldtrace.model import penalty
from tests.analyzers.synthetic import MS, START_NS, TICK, array, loop

KERNEL = penalty.for_kernel("6.12", TICK)


def test_a_vcpu_whose_exits_were_not_watched_yet_has_the_number_in_its_name(tmp_path: Path) -> None:
    """As of a VM that runs since before the recorder: its first traps have no vCPU."""
    tgid, tid = os.getpid(), threading.get_native_id()
    name = Path(f"/proc/self/task/{tid}/comm")
    before, found = name.read_text(), tmp_path / "finding"
    messages: list[str] = []
    watch = FindingWatch(
        FindingOptions(command=f"cat > {found}"), KERNEL, {}, messages.append, lambda _: {"comm": "qemu"}
    )
    watch.add("trap", array("trap", loop(3000, tgid=tgid, tid=tid, vcpu=-1)))
    name.write_text("CPU 3/KVM")
    try:
        watch.close(0, "a.sld")
    finally:
        name.write_text(before)
    assert messages[0].startswith(f"found: livelock: vCPU 3 of qemu (PID {tgid}) at address ")
    assert '"vcpu": 3' in found.read_text()


AT_NS = START_NS + 10 * 10**9


def watched(count: int, until: str | None) -> FindingWatch:
    """After a check at AT_NS: 50 traps are a loop, 3000 a livelock."""
    messages: list[str] = []
    watch = FindingWatch(FindingOptions(until, tail_ns=5), KERNEL, {}, messages.append, lambda _: {})
    watch.add("trap", array("trap", loop(count)))
    watch.check(AT_NS, "a.sld")
    assert len(messages) == 1
    return watch


@pytest.mark.parametrize(
    ("count", "until", "ends"),
    [
        (50, LOOP, True),
        (3000, LOOP, True),
        (50, LIVELOCK, False),
        (3000, LIVELOCK, True),
        (3000, None, False),
    ],
)
def test_the_recording_ends_a_while_after_what_it_waits_for(
    count: int, until: str | None, ends: bool
) -> None:
    assert watched(count, until).end_ns == (AT_NS + 5 if ends else None)


def test_a_later_finding_does_not_put_the_end_off() -> None:
    watch = watched(50, LOOP)
    watch.add("trap", array("trap", loop(50, 11_000 * MS, tid=999)))
    watch.close(AT_NS + 10**9, "a.sld")
    assert watch.end_ns == AT_NS + 5


def test_the_number_that_the_records_have_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding_watch, "vcpu_of_thread", lambda tgid, tid: 7)
    said: list[str] = []
    for vcpu in (-1, 0, 3):
        watch = FindingWatch(FindingOptions(), KERNEL, {}, said.append, lambda _: {})
        watch.add("trap", array("trap", loop(50, vcpu=vcpu)))
        watch.close(0, "a.sld")
    assert [line.split(":")[2].split(" of ")[0].strip() for line in said] == ["vCPU 7", "vCPU 0", "vCPU 3"]
