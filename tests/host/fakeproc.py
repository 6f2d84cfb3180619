"""A /proc of a host that does not exist."""

import os
from collections.abc import Sequence
from pathlib import Path

CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: A CPU: with a colon
flags\t\t: {flags}
power management:

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: another
flags\t\t: fpu
"""


def proc(
    folder: Path,
    flags: str = "fpu split_lock_detect",
    cmdline: str = "ro quiet",
    mitigate: str | None = "1\n",
    modules: str = "kvm_intel 471040 0 - Live 0x0000000000000000\nkvm 1396736 1 kvm_intel, Live 0x0\n",
) -> Path:
    """Writes cpuinfo, cmdline, modules and the sysctl below `folder`, which is the /proc."""
    (folder / "cpuinfo").write_text(CPUINFO.format(flags=flags))
    (folder / "cmdline").write_text(cmdline)
    (folder / "modules").write_text(modules)
    sysctl = folder / "sys" / "kernel"
    sysctl.mkdir(parents=True, exist_ok=True)
    if mitigate is not None:
        (sysctl / "split_lock_mitigate").write_text(mitigate)
    return folder


def process(
    folder: Path,
    tgid: int,
    comm: bytes,
    exe: bytes | None,
    thread_of: int | None = None,
    cmdline: Sequence[bytes] = (),
    cgroup: bytes = b"/",
) -> None:
    """Adds a process, or a thread as /proc/TID shows it (`thread_of`: its TGID)."""
    entry = folder / str(tgid)
    entry.mkdir()
    (entry / "comm").write_bytes(comm + b"\n")
    status = b"Name:\t" + comm.replace(b"\n", b"\\n") + b"\nUmask:\t0022\nTgid:\t%d\nPid:\t%d\n"
    (entry / "status").write_bytes(status % (thread_of or tgid, tgid))
    if exe is not None:
        (entry / "exe").symlink_to(exe.decode("utf-8", "surrogateescape"))
    (entry / "cmdline").write_bytes(b"".join(argument + b"\0" for argument in cmdline))
    (entry / "cgroup").write_bytes(b"0::" + cgroup + b"\n")


def thread(folder: Path, tgid: int, tid: int, comm: bytes) -> None:
    """Adds a thread to the process's task folder."""
    entry = folder / str(tgid) / "task" / str(tid)
    entry.mkdir(parents=True)
    (entry / "comm").write_bytes(comm + b"\n")


def descriptors(folder: Path, tgid: int, links: Sequence[bytes]) -> None:
    """Makes the process's fd folder: one link for each descriptor."""
    entry = folder / str(tgid) / "fd"
    entry.mkdir()
    for number, link in enumerate(links):
        os.symlink(link, os.fsencode(entry / str(number)))
