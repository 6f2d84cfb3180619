"""Runs in the emulated host booted by systemd: the service from its installation to its removal.

usage: service_scenario.py FOLDER (on a machine with root, systemd, /dev/kvm, bcc and tracefs)

As in scenario.py nothing is asserted here: the protocol, the recordings and the journal are judged outside.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

UNIT = "sldtrace.service"
STATE = Path("/var/lib/sldtrace")
PROGRAM = Path("/opt/sldtrace/bin/sldtrace")
PAGER = Path("/opt/sldtrace/bin/page-me")
DROP_IN = Path("/etc/systemd/system/sldtrace.service.d/without-admin.conf")
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
# What libvirt's unit of a VM called shop looks like (systemd-escape(1)).
SCOPE = r"machine-qemu\x2d3\x2dshop.scope"
PROPERTIES = "ActiveState,SubState,Result,NRestarts,StatusText,ExecMainStatus,MainPID,MemoryPeak"


def run(*command: str) -> str:
    """Runs a command that must succeed; its output."""
    done = attempt(*command)
    if done["status"]:
        raise SystemExit(f"{command}: status {done['status']}: {done['stdout']}{done['stderr']}")
    return str(done["stdout"])


def attempt(*command: str) -> dict[str, Any]:
    """Runs a command that may fail; its exit status and outputs."""
    done = subprocess.run(command, capture_output=True, text=True)
    both = done.stdout + done.stderr
    return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr, "output": both}


def machine_time() -> float:
    """Seconds since power-on, in the machine's time."""
    return float(Path("/proc/uptime").read_text().split()[0])


def install() -> dict[str, Any]:
    """What pip would have installed, then what the README says."""
    PROGRAM.parent.mkdir(parents=True)
    path = os.environ["PYTHONPATH"]
    PROGRAM.write_text(
        f"#!/usr/bin/python3\nimport sys\nsys.path.insert(0, {path!r})\nfrom sldtrace.cli import run\nrun()\n"
    )
    PROGRAM.chmod(0o755)
    rights = f"grep CapEff: /proc/self/status >> {STATE}/rights"
    PAGER.write_text(f"#!/bin/sh\ncat >> {STATE}/paged.json\n{rights}\n")
    PAGER.chmod(0o755)
    Path("/etc/default/sldtrace").write_text(
        f"SLDTRACE_OPTIONS=--rotate 64M --rotate-keep 8 --on-finding {PAGER}\n"
    )
    return attempt(str(PROGRAM), "service", "install")


def state() -> dict[str, str]:
    """What systemd says of the service, and the kernel of its process."""
    shown = run("systemctl", "show", UNIT, "-p", PROPERTIES)
    found = dict(line.split("=", 1) for line in shown.splitlines())
    if found["MainPID"] != "0":
        status = Path(f"/proc/{found['MainPID']}/status").read_text()
        found |= dict(re.findall(r"^(Cap\w+|NoNewPrivs|Seccomp|VmRSS):\s+(\w+)", status, re.MULTILINE))
    return found


def guest() -> dict[str, Any]:
    """A frozen guest under another user, in a cgroup as libvirt names it; its result."""
    text = run(
        *("systemd-run", "--quiet", "--scope", "--collect", "--slice=machine.slice", f"--unit={SCOPE}"),
        *(
            "--uid=65534",
            sys.executable,
            "-m",
            "sldtrace",
            "guest",
            "run",
            "--duration",
            "1s",
            "--format",
            "json",
        ),
    )
    result: dict[str, Any] = json.loads(text)
    return result


def programs() -> list[str]:
    """The BPF programs that are loaded, but those of systemd, for cgroups and as a security module."""
    shown = json.loads(run("bpftool", "-j", "prog", "show"))
    return sorted(one["name"] for one in shown if not one["type"].startswith(("cgroup", "lsm")))


def restarted(pid: str) -> float:
    """Waits until the service is active again with another process; seconds it took."""
    begun = machine_time()
    while machine_time() < begun + 300:
        found = state()
        if found["ActiveState"] == "active" and found["MainPID"] not in ("0", pid):
            return machine_time() - begun
        time.sleep(2)
    raise SystemExit(f"not active again: {state()}\n{run('journalctl', '-b', '--no-pager')}")


def main() -> None:
    """One boot."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    Path("/dev/kvm").chmod(0o666)
    protocol: dict[str, Any] = {"kernel": os.uname().release, "paranoid": PARANOID.read_text().strip()}
    protocol["unprivileged_bpf"] = Path("/proc/sys/kernel/unprivileged_bpf_disabled").read_text().strip()
    protocol["programs before"] = programs()
    protocol["installed"] = install()
    begun = machine_time()
    protocol["started"] = attempt("systemctl", "start", UNIT)
    protocol["start seconds"] = machine_time() - begun
    protocol["running"] = state()
    protocol["guest"] = guest()
    protocol["recorded"] = state()
    protocol["programs while"] = programs()

    # Hangs; comes back without CAP_SYS_ADMIN, as the unit says how to.
    DROP_IN.parent.mkdir()
    DROP_IN.write_text("[Service]\nCapabilityBoundingSet=~CAP_SYS_ADMIN\n")
    PARANOID.write_text("2")
    run("systemctl", "daemon-reload")
    hung = protocol["recorded"]["MainPID"]
    os.kill(int(hung), signal.SIGSTOP)
    protocol["restart seconds"] = restarted(hung)
    protocol["restarted"] = state()
    protocol["guest again"] = guest()
    protocol["recorded again"] = state()
    protocol["security"] = json.loads(run("systemd-analyze", "security", "--json=short", UNIT))
    protocol["exposure"] = run("systemd-analyze", "security", "--no-pager", UNIT).splitlines()[-1]
    protocol["stopped"] = attempt("systemctl", "stop", UNIT)
    protocol["programs after"] = programs()
    protocol["modes"] = {path.name: oct(path.stat().st_mode) for path in (STATE, *STATE.iterdir())}
    protocol["removed"] = attempt(str(PROGRAM), "service", "remove")
    protocol["journal"] = run("journalctl", "-b", "--no-pager", "-o", "short-monotonic").splitlines()
    shutil.copytree(STATE, folder / "state")
    (folder / "protocol.json").write_text(json.dumps(protocol, indent=1))


main()
