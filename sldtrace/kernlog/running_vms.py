"""Finds the VMs of logged threads that still run, in the log of the running system."""

import re
from pathlib import Path

from sldtrace.host.vms import process
from sldtrace.host.vms.names import KEYS, display_name
from sldtrace.kernlog.survey import Survey

_TGID = re.compile(r"^Tgid:\t(\d+)$", re.MULTILINE)


def name_vms(survey: Survey, proc: Path = Path("/proc")) -> None:
    """Sets `vm` of each thread of the log whose TID and name a running thread of a VM has.

    A reused TID with the same name cannot be distinguished from the thread of the log.
    """
    known: dict[int, str] = {}
    for thread in survey.traps():
        folder = proc / str(thread.tid)
        try:
            comm = (folder / "comm").read_bytes().removesuffix(b"\n")
            status = (folder / "status").read_text(errors="replace")
        except OSError:
            continue
        found = _TGID.search(status)
        if comm != thread.comm or not found:
            continue
        tgid = int(found[1])
        if tgid not in known:
            vm = process.describe(tgid, proc).get("vm") or {}
            known[tgid] = display_name({key: vm.get(key) or "" for key in KEYS})
        thread.vm = known[tgid]
