"""Describes a running process, from /proc."""

import contextlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from sldtrace.host.vms import cgroups, cmdline
from sldtrace.host.vms.names import KEYS, Names, cut

_LIMIT = 128 * 1024  # bytes that are read of a file; the longest single argument that execve takes
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"  # RFC 1123, as Kubernetes demands it of names


def describe(tgid: int, proc: Path = Path("/proc")) -> dict[str, Any]:
    """A process as plain JSON values; {} where it has ended or is hidden. The texts are not escaped.

    comm; exe, where it can be read (which requires the rights of ptrace: proc_pid_exe(5)); vmm: its
    name in host.vms.vmms.VMMS, or null; vm: the VM's names (host.vms.names.Names), null where the process is
    not a known VMM and not in the cgroup of a VM; irqchip: see host.vms.cmdline.irqchip_of; cgroup: its path;
    unit: its systemd service. All but exe are readable by every user unless /proc is mounted with hidepid.
    Bytes that are not UTF-8 become backslash escapes; the command line itself is not kept.
    """
    entry = proc / str(tgid)
    comm = _read(entry / "comm")
    if comm is None:
        return {}
    found: dict[str, Any] = {"comm": cut(_text(comm.rstrip(b"\n")))}
    with contextlib.suppress(OSError):
        found["exe"] = cut(_text(os.fsencode(os.readlink(entry / "exe"))))
    arguments = _arguments(_read(entry / "cmdline") or b"")
    found["vmm"] = cmdline.vmm_of(arguments, found.get("exe", ""), found["comm"])
    path = cgroups.path_of(_text(_read(entry / "cgroup") or b""))
    unit = None if path is None else cgroups.unit_of(path)
    found["vm"] = _vm(found["vmm"], arguments, path, unit)
    found["irqchip"] = cmdline.irqchip_of(found["vmm"], arguments)
    found["cgroup"] = None if path is None else cut(path)
    found["unit"] = None if unit is None else cut(unit)
    return found


def exists(tgid: int, proc: Path = Path("/proc")) -> bool:
    """Is there a process with this TGID (not merely a thread with this TID)?"""
    try:
        status = (proc / str(tgid) / "status").read_text(errors="replace")
    except OSError:
        return False
    return f"\nTgid:\t{tgid}\n" in status


# The command line has precedence over the cgroup, whose names are shorter; the name of a service comes last.
def _vm(vmm: str | None, arguments: list[str], path: str | None, unit: str | None) -> dict[str, Any] | None:
    found = cmdline.names_of(vmm, arguments)
    around = Names() if path is None else cgroups.names_of(path)
    # systemd-machined registers containers too.
    if vmm is None and around.id is None and around.source.get("name") in (None, cgroups.MACHINE_SCOPE):
        return None
    for key in KEYS:
        found = found.with_default(key, getattr(around, key), around.source.get(key, ""))
    if found.name is None and found.id is None:
        found = found.with_default("name", unit, "systemd unit")
    # KubeVirt calls a libvirt domain NAMESPACE_NAME; neither can have an underscore in it.
    if found.pod and (domain := re.fullmatch(f"({_LABEL})_({_LABEL})", found.name or "")):
        source = {**found.source, "namespace": found.source["name"]}
        found = replace(found, namespace=domain[1], name=domain[2], source=source)
    return found.fact()


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_LIMIT)
    except OSError:
        return None


# An argument that was cut off is dropped: half of a name is a wrong name.
def _arguments(raw: bytes) -> list[str]:
    parts = raw.split(b"\0")
    if len(raw) == _LIMIT or not parts[-1]:
        parts.pop()
    return [_text(part) for part in parts]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
