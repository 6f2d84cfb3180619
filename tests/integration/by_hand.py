"""A recorder with few rights on a host that changes: locked down, a CPU that goes, a disk that fills.

Takes minutes and need not run each time: test_by_hand.py says how.
"""

import os
import subprocess
import time
from pathlib import Path

from tests.integration.observing import (
    SLDTRACE,
    TRACEFS,
    Account,
    Protocol,
    Recorder,
    attached,
    guest,
    start_guest,
)

USER = 65534
RIGHTS = "+bpf,+perfmon"
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
UNPRIVILEGED_BPF = Path("/proc/sys/kernel/unprivileged_bpf_disabled")
LOCKDOWN = Path("/sys/kernel/security/lockdown")
CPU = Path("/sys/devices/system/cpu/cpu1/online")
DISK_BYTES = 2 << 20


def run(folder: Path) -> Protocol:
    """The protocol of this part."""
    subprocess.run(["mount", "-t", "securityfs", "securityfs", "/sys/kernel/security"], check=False)
    subprocess.run(["mount", "-o", f"remount,gid={USER},mode=750", TRACEFS], check=True)
    PARANOID.write_text("2")
    found: Protocol = {"unprivileged bpf disabled": UNPRIVILEGED_BPF.read_text().strip()}
    # Lockdown goes up only; reads of kernel memory are still allowed at this level.
    if LOCKDOWN.exists():
        LOCKDOWN.write_text("integrity")
        found["lockdown"] = LOCKDOWN.read_text().strip()
    found |= few_rights(folder)
    found["attached"] = attached()
    if LOCKDOWN.exists():
        LOCKDOWN.write_text("confidentiality")
        refused = subprocess.run(
            [*SLDTRACE, "record", "-d", "1s", "-o", str(folder / "no.sld")], capture_output=True, text=True
        )
        found["refused"] = {"status": refused.returncode, "stderr": refused.stderr}
    return found


def few_rights(folder: Path) -> Protocol:
    """One recording by user 65534, on a small disk that is full in the end; CPU 1 goes offline and online."""
    disk = Path("/tmp/disk")
    disk.mkdir()
    mount = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={DISK_BYTES},uid={USER},mode=700",
        "tmpfs",
        str(disk),
    ]
    subprocess.run(mount, check=True)
    recorder = Recorder(disk / "few.sld", stop=None)
    recorder.command = [
        *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
        *(f"--inh-caps={RIGHTS}", f"--ambient-caps={RIGHTS}", "--"),
        *recorder.command,
    ]
    with Account() as account, recorder:
        guests = {"before": guest("1ms", "500ms")}
        frozen, pid, tid = start_guest("--cpus", "1")
        guests["hotplug"] = {"pid": pid, "tgid": pid, "vms": [{"vcpus": [{"tid": tid}]}]}
        time.sleep(0.3)
        online = []
        for state in ("0", "1"):
            CPU.write_text(state)
            online.append(os.cpu_count())
            time.sleep(0.7)
        frozen.terminate()
        frozen.wait()
        guests["after"] = guest("1ms", "500ms")
        resources = recorder.resources()
        counted = account.read(folder / "few.trace")
        fill = disk / "fill"
        with fill.open("wb") as file:
            try:
                while file.write(b"\0" * 4096):
                    file.flush()
            except OSError as error:
                full = error.errno
        guests["on a full disk"] = guest("1ms", "1s")
        recorder.end()
    (folder / "few.sld").write_bytes((disk / "few.sld").read_bytes())
    return {
        "few": recorder.protocol,
        "guests": guests,
        "counted": counted,
        "online": online,
        "full": full,
        "resources": resources,
    }
