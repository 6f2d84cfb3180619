"""Drops the privileges that the recorder does not need once its programs are loaded."""

import os
import stat
import struct
from collections.abc import Collection
from pathlib import Path

from sldtrace.host.access import (
    CAP_BPF,
    CAP_PERFMON,
    CAP_SYS_ADMIN,
    PARANOID,
    effective_capabilities,
    perf_events_require_admin,
)
from sldtrace.host.libc import check, libc

# include/uapi/linux/capability.h and prctl.h
_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_LAST_CAPABILITY = 63
CAP_DAC_OVERRIDE = 1


def drop(folders: Collection[Path] = (), paranoid: Path = PARANOID) -> int:
    """Drops all capabilities but CAP_BPF and CAP_PERFMON, which the late probes need; returns the new set.

    folders: where files are created later; CAP_DAC_OVERRIDE is kept if one needs it. CAP_SYS_ADMIN is kept
    where the kernel requires it: before 5.8, which lacks the two (a17b53c4a4b5), and by
    access.perf_events_require_admin. Child processes cannot gain privileges either (no_new_privs). Raises
    OSError.
    """
    held = effective_capabilities()
    keep = 1 << CAP_BPF | 1 << CAP_PERFMON
    if held & keep != keep or perf_events_require_admin(paranoid):
        keep |= 1 << CAP_SYS_ADMIN
    if not all(_may_write(folder) for folder in folders):
        keep |= 1 << CAP_DAC_OVERRIDE
    keep &= held
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(_LAST_CAPABILITY + 1):
        # Fails without CAP_SETPCAP, which does not matter: with no_new_privs the bounding set has no effect.
        if not keep >> number & 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    low, high = keep & 0xFFFFFFFF, keep >> 32
    header = struct.pack("<Ii", _VERSION_3, 0)
    data = struct.pack("<6I", low, low, 0, high, high, 0)
    check(libc.capset(header, data))
    return keep


# By its owner, group and mode alone (path_resolution(7)).
def _may_write(folder: Path) -> bool:
    found = folder.stat()
    if found.st_uid == os.geteuid():
        wanted = stat.S_IWUSR | stat.S_IXUSR
    elif found.st_gid in (os.getegid(), *os.getgroups()):
        wanted = stat.S_IWGRP | stat.S_IXGRP
    else:
        wanted = stat.S_IWOTH | stat.S_IXOTH
    return found.st_mode & wanted == wanted


def _prctl(option: int, argument: int) -> None:
    check(libc.prctl(option, argument, 0, 0, 0))
