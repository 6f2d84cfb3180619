"""Resolves --cgroup to the id and the level that the BPF programs compare."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sldtrace.errors import SldtraceError
from sldtrace.host.vms.cgroups import unescape
from sldtrace.text.escape import escape

_FIRST_NAMESPACE = 0xEFFFFFFB  # inode of the first cgroup namespace: include/linux/proc_ns.h
_WHERE = "/proc/PID/cgroup has that of a process, systemd-cgls shows all"


class CgroupFilter(NamedTuple):
    """A cgroup as bpf_get_current_ancestor_cgroup_id(level) names it: id, level (0 is the root)."""

    id: int
    level: int


@dataclass(frozen=True)
class _Mount:
    path: Path
    root: str  # the part of the hierarchy that is mounted there
    device: int
    version: int


def cgroup_filter(text: str, proc: Path = Path("/proc")) -> CgroupFilter:
    """The cgroup of `--cgroup TEXT`: everything in it and below it.

    text: a path with or without the mount point (/sys/fs/cgroup/machine.slice, /machine.slice,
    machine.slice), or the name of a unit, scope or slice that only one cgroup has. The id is the inode number
    of the directory (include/linux/kernfs.h, kernfs_ino: all of the id where ino_t has 64 bits). Raises
    SldtraceError where there is no such cgroup, more than one, one of version 1 only, or where levels cannot
    be known (inside a cgroup namespace).
    """
    mounts = _mounts(proc)
    unified = min((each for each in mounts if each.version == 2), key=_preferred, default=None)
    if unified is None:
        raise SldtraceError(
            "cgroup v2 is not mounted on this host, and the kernel part cannot filter by others",
            "use --vm or --pid, or mount -t cgroup2 none /mnt (with systemd: boot with"
            " systemd.unified_cgroup_hierarchy=1)",
        )
    _require_first_namespace(proc)
    folder = _find(text, unified, mounts)
    inside = os.path.relpath(folder, os.path.realpath(unified.path))
    level = len(_parts(unified.root)) + len(_parts("" if inside == "." else inside))
    return CgroupFilter(os.stat(folder).st_ino, level)


def _preferred(mount: _Mount) -> tuple[int, int]:
    return len(_parts(mount.root)), len(mount.path.parts)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


# proc_pid_mountinfo(5): ID, parent, device, root, mount point, options, optional fields up to `-`, type.
def _mounts(proc: Path) -> list[_Mount]:
    found = []
    with open(proc / "self" / "mountinfo", "rb") as lines:
        for line in lines:
            before, _, after = line.partition(b" - ")
            fields, kind = before.split(), after.split(b" ", 1)[0]
            if len(fields) < 5 or kind not in (b"cgroup", b"cgroup2"):
                continue
            major, _, minor = fields[2].partition(b":")
            version = 2 if kind == b"cgroup2" else 1
            device = os.makedev(int(major), int(minor))
            found.append(_Mount(Path(_decoded(fields[4])), _decoded(fields[3]), device, version))
    return found


# Blanks and similar characters are octal in mountinfo.
def _decoded(raw: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), raw))


# Inside a namespace paths begin at its root, whose level is not visible.
def _require_first_namespace(proc: Path) -> None:
    try:
        inode = os.stat(proc / "self" / "ns" / "cgroup").st_ino
    except OSError:
        return
    if inode != _FIRST_NAMESPACE:
        raise SldtraceError(
            "--cgroup cannot be resolved inside a cgroup namespace (a container)",
            "run sldtrace on the host, with `nsenter -t 1 -C`, or use --vm or --pid",
        )


def _find(text: str, unified: _Mount, mounts: list[_Mount]) -> Path:
    shown = escape(text)
    if text.startswith("/") and _device(Path(text)) in {each.device for each in mounts if each.version == 1}:
        raise SldtraceError(
            f"{shown} is a cgroup of version 1", "take the path after `0::` in /proc/PID/cgroup"
        )
    candidates = [unified.path / text.lstrip("/")] if text else []
    if Path(os.path.normpath(text)).is_relative_to(unified.path):
        candidates.insert(0, Path(text))
    for path in candidates:
        if _device(path) == unified.device:
            return Path(os.path.realpath(path))
    named = [] if "/" in text else _named(text, unified.path)
    if not named:
        raise SldtraceError(f"there is no cgroup {shown}", _WHERE)
    if len(named) > 1:
        places = ", ".join(escape("/" + os.path.relpath(each, unified.path)) for each in named[:3])
        raise SldtraceError(
            f"there are {len(named)} cgroups named {shown}", f"give the path of one: {places}"
        )
    return named[0]


# The file system that a folder is on; None where there is no folder.
def _device(path: Path) -> int | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev if stat.S_ISDIR(found.st_mode) else None


# By the name as systemd writes it, or with its escapes decoded.
def _named(name: str, top: Path) -> list[Path]:
    return sorted(
        Path(folder, each)
        for folder, below, _ in os.walk(top)
        for each in below
        if name in (each, unescape(each))
    )
