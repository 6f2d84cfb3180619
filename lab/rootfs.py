"""Builds the machine's root file systems: a small Debian trixie with Python and bcc, as one disk image."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import cache, hosttools, image
from lab.failures import LabError
from lab.packages import SUITE, Archive
from lab.progress import Progress

_PACKAGES = (
    "bpftool",
    "kmod",
    "procps",
    "python3",
    "python3-bpfcc",
    "python3-click",
    "python3-numpy",
)
SYSTEMD = "systemd"
# "tracers" adds the programs that benchmarks/observer.py compares sldtrace with;
# "qemu" adds a VMM that people use; its firmware is the guest of the test.
# "prometheus" adds what scrapes the metrics of a recorder;
# "systemd" boots with systemd as the first process, which runs the job as a service.
ROOTS = {
    "plain": _PACKAGES,
    "tracers": (*_PACKAGES, "bpftrace", "linux-perf", "trace-cmd"),
    "qemu": (*_PACKAGES, "qemu-system-x86"),
    "prometheus": (*_PACKAGES, "prometheus"),
    SYSTEMD: (*_PACKAGES, "systemd"),
}
DEFAULT = "plain"
# Never unpacked by dpkg.
EXCLUDED = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/bpfcc-tools/*",
)
# Taken out of the finished tree: lists and caches of apt, device nodes (devtmpfs has them).
_DROPPED = ("./dev/*", "./var/lib/apt/lists/*", "./var/cache/*", "./var/log/*", "./run/*", "./tmp/*")
_FREE = 256 << 20
TOOLS = ("mmdebstrap", "mke2fs", "tar", "apt-get", "unshare")


def known(name: str) -> str:
    """The name of a root file system, as it is; raises LabError when it does not exist."""
    if name not in ROOTS:
        raise LabError(f"no root file system '{name}'", f"there are {', '.join(ROOTS)}")
    return name


def kind(name: str) -> str:
    """What the cache calls that root file system."""
    return "rootfs" if name == DEFAULT else f"rootfs-{name}"


def inputs(archive: Archive, name: str) -> dict[str, Any]:
    """Everything that the image depends on, down to the versions of the named packages."""
    packages = archive.resolve([f"{package}/{SUITE}" for package in ROOTS[name]])
    return {
        "packages": {package.filename: package.sha256 for package in packages},
        "excluded": EXCLUDED,
        "dropped": _DROPPED,
        "free": _FREE,
        "format": 2,
    }


def ensure(archive: Archive, name: str, progress: Progress) -> Path:
    """The folder with root.img of that root file system, an ext4 image; built when missing.

    Building needs root or unprivileged user namespaces.
    """
    return cache.ensure(
        kind(name), inputs(archive, name), lambda into: _build(archive, ROOTS[name], progress, into), progress
    )


def _build(archive: Archive, packages: Sequence[str], progress: Progress, into: Path) -> dict[str, Any]:
    hosttools.require(TOOLS)
    progress.stage(f"root file system: Debian {SUITE} with {', '.join(packages)} (half a minute)")
    tarball, tree, disk = into / "root.tar", into / "tree", into / "root.img"
    hosttools.run(
        [
            "mmdebstrap",
            "--variant=minbase",
            "--architectures=amd64",
            f"--include={','.join(packages)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED),
            SUITE,
            tarball,
            archive.sources_line(SUITE),
        ],
        what="building the root file system",
    )
    progress.stage("root file system: making the image")
    tree.mkdir()
    # Everything belongs to root in the machine, but the builder may be another user: the tree is made and
    # read in a user namespace in which the builder is root.
    script = (
        'tar xf "$1" -C "$2" --no-same-owner --exclude-from="$3" && mkdir -p "$2/sldtrace" && '
        'size=$(du -sk --apparent-size "$2" | cut -f1) && '
        'truncate -s $(( (size * 1024 * 11 / 10 + $4) / $5 * $5 )) "$6" && '
        'mke2fs -q -F -t ext4 -O ^has_journal -m 0 -E lazy_itable_init=0,root_owner=0:0 -d "$2" "$6"'
    )
    (into / "dropped").write_text("\n".join(_DROPPED) + "\n")
    script_arguments = [
        str(tarball),
        str(tree),
        str(into / "dropped"),
        str(_FREE),
        str(image.CYLINDER),
        str(disk),
    ]
    namespace = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    hosttools.run(
        [*namespace, "sh", "-ec", script, "sh", *script_arguments],
        what="making the image of the root file system",
    )
    for name in (tarball, into / "dropped"):
        name.unlink()
    shutil.rmtree(tree)
    progress.stage(f"root file system: ready ({cache.size(into) >> 20} MB)")
    return {"version": f"Debian {SUITE}", "size": disk.stat().st_size}
