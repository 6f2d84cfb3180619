"""What is printed and given to the command when a loop is found while the recorder runs."""

import os
import threading
from pathlib import Path

from sldtrace.capture.live.finding_watch import FindingOptions, FindingWatch
from sldtrace.model import penalty
from tests.analyzers.synthetic import TICK, array, loop

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
