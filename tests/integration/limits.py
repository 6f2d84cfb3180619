"""Attaching late, two recorders side by side, one of them killed; limits of time; all that can be missing."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.observing import (
    FREE,
    SLDTRACE,
    Account,
    Protocol,
    Recorder,
    guest,
    hidden,
    start_guest,
)

CGROUP = Path("/sys/fs/cgroup/wanted")
NAMED = CGROUP.parent / r"machine.slice/machine-qemu\x2d7\x2dweb\x2d1.scope"
OTHER_NAME = Path("/tmp/unwanted")
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")  # the next process gets the TID after this one


def late_and_chosen(folder: Path) -> Protocol:
    """Two recorders side by side.

    `late` is attached to a VMM that livelocks already, and to that thread only, and ends by SIGKILL. `until`
    sees one cgroup, name and address only: a guest that survives there, and others that are not meant; then
    silence; then one that livelocks, which ends it.
    """
    CGROUP.mkdir()
    OTHER_NAME.symlink_to(sys.executable)
    finding = folder / "finding.json"
    until = Recorder(
        folder / "until.sld",
        *("--cgroup", str(CGROUP), "--comm", "pyth*", "--address", "4018-401b", "--idle", "2s"),
        *FREE,
        *("--until", "livelock", "--tail", "500ms", "--on-finding", f"cat > {finding}", "-d", "5m"),
        stop=None,
    )
    with Account() as account, until:
        frozen, pid, tid = start_guest()
        late = Recorder(folder / "late.sld", "--pid", str(pid), "--tid", str(tid), *FREE, stop="KILL")
        try:
            with late:
                guests = {"other": guest("1ms", "500ms")}
                enter(CGROUP)
                guests["survivor"] = guest("20ms", "600ms")
                guests["other address"] = guest("20ms", "300ms", "split-xadd")
                guests["other name"] = guest("20ms", "300ms", program=OTHER_NAME)
                time.sleep(3.5)
                guests["caught"] = guest("1ms", "2500ms")
                enter(CGROUP.parent)
                until.end()
                during = late.process.poll()
            # Now the trace reaches beyond whatever the recorders have written.
            counted = account.read(folder / "late.trace")
        finally:
            frozen.terminate()
            frozen.wait()
    return {
        "late": late.protocol | {"pid": pid, "tid": tid, "poll": during},
        "until": until.protocol | {"finding": json.loads(finding.read_text())},
        "cgroup": {"path": str(CGROUP), "id": CGROUP.stat().st_ino},
        "guests": guests,
        "counted": counted,
    }


def enter(cgroup: Path) -> None:
    """This process, and what it starts, belongs to that cgroup from now on."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


def kept_and_rotated(folder: Path) -> Protocol:
    """A VM without a name, and then for eight seconds one that libvirt has named.

    One recorder keeps the last second of the VM of that name; the other begins a file every two seconds.
    """
    NAMED.mkdir(parents=True)
    kept = Recorder(folder / "kept.sld", "--keep", "1s", "--vm", "web-1", *FREE)
    rotated = Recorder(folder / "rotated.sld", "--rotate", "2s", "--rotate-keep", "3", *FREE)
    with Account() as account:
        with rotated, kept:
            guests = {"nameless": guest("1ms", "300ms")}
            enter(NAMED)
            guests["named"] = guest("1ms", "8s")
            enter(CGROUP.parent)
        counted = account.read(folder / "limited.trace")
    return {"guests": guests, "counted": counted, "kept": kept.protocol, "rotated": rotated.protocol}


def far_apart(folder: Path) -> Protocol:
    """Two VMs of 8 vCPUs whose TIDs are 4,096 apart, as on a host with many VMs; all trap."""
    recorder = Recorder(folder / "apart.sld", *FREE)
    options = ("--vcpus", "8", "--timeout", "5ms")
    with Account() as account, recorder:
        vms = []
        for last_pid in (3_999, 3_999 + 4_096):
            LAST_PID.write_text(str(last_pid))
            vms.append(start_guest(*options))
        time.sleep(1)
        tids = {pid: sorted(map(int, os.listdir(f"/proc/{pid}/task"))) for _, pid, _ in vms}
        for process, _, _ in vms:
            process.terminate()
            process.wait()
        counted = account.read(folder / "apart.trace")
    return {"apart": recorder.protocol | {"tids": tids, "counted": counted}}


def refusals(folder: Path) -> Protocol:
    """What `record` and `guest run` say where they cannot work; each is (status, stderr)."""
    target = str(folder / "refused.sld")
    record = [*SLDTRACE, "record", "-d", "1s", "-o", target]

    def say(*command: str, user: int | None = None) -> Protocol:
        done = subprocess.run(command, capture_output=True, text=True, user=user)
        return {"status": done.returncode, "stderr": done.stderr, "left": Path(target).exists()}

    found = {"not root": say(*record, user=65534)}
    with hidden("/sys/kernel/tracing"), hidden("/sys/kernel/debug"):
        found["no tracefs"] = say(*record)
    with hidden("/usr/lib/python3/dist-packages/bcc"):
        found["no bcc"] = say(*record)
    with hidden("/dev"):
        found["no kvm"] = say(*SLDTRACE, "guest", "run")
    Path(target).write_text("mine")
    found["exists"] = say(*record)
    Path(target).unlink()
    found["no such pid"] = say(*record, "--pid", "99999")
    found["a folder"] = say(*SLDTRACE, "record", "-d", "1s", "-o", str(folder))
    found["no folder"] = say(*SLDTRACE, "record", "-d", "1s", "-o", "/nowhere/x.sld")
    return found


def run(folder: Path) -> Protocol:
    """The protocol of this part."""
    found = late_and_chosen(folder) | {"limited": kept_and_rotated(folder)}
    found |= far_apart(folder)
    return found | {"refusals": refusals(folder)}
