"""A /proc of a host that does not exist."""

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


def process(folder: Path, tgid: int, comm: bytes, exe: bytes | None, thread_of: int | None = None) -> None:
    """Adds a process, or a thread as /proc/TID shows it (`thread_of`: its TGID)."""
    entry = folder / str(tgid)
    entry.mkdir()
    (entry / "comm").write_bytes(comm + b"\n")
    status = b"Name:\t" + comm.replace(b"\n", b"\\n") + b"\nUmask:\t0022\nTgid:\t%d\nPid:\t%d\n"
    (entry / "status").write_bytes(status % (thread_of or tgid, tgid))
    if exe is not None:
        (entry / "exe").symlink_to(exe.decode("utf-8", "surrogateescape"))
