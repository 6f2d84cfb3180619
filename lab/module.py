"""Builds kernel modules for a kernel of the lab: against its headers, in a Debian root with its compiler."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lab import cache, hosttools, kernel_files, rootfs
from lab.kernel import KERNELS
from lab.packages import Archive
from lab.progress import Progress

TOOLS = ("mmdebstrap", "tar", "apt-get", "unshare")
# Headers depend on the kernel itself, of which nothing is needed here.
_EXCLUDED = (*rootfs.EXCLUDED, "/boot/*", "/lib/modules/*/kernel/*", "/usr/lib/modules/*/kernel/*")
# $1: the root, $2: the release of the kernel, $3: the folder in the root with the sources.
_MAKE = (
    'mount --rbind /dev "$1/dev" && exec chroot "$1" /usr/bin/make --no-print-directory '
    '-C "/usr/src/linux-headers-$2" "M=$3" modules'
)


def kind(name: str) -> str:
    """What the cache calls the compiler's root of that kernel."""
    return f"headers-{name}"


def inputs(archive: Archive, name: str, release: str) -> dict[str, Any]:
    """Everything that the compiler's root depends on, down to the version of the headers of that kernel."""
    (package,) = archive.resolve([f"linux-headers-{release}/{KERNELS[name].suite}"])
    return {"package": package.filename, "sha256": package.sha256, "excluded": _EXCLUDED, "format": 1}


def build(archive: Archive, name: str, source: Path, into: Path, progress: Progress) -> list[Path]:
    """Makes the modules (.ko) of the folder `source`, which has a Makefile of kbuild, for that kernel.

    They come into the folder `into`. Needs root or unprivileged user namespaces. Raises LabError.
    """
    release = kernel_files.ensure(archive, name, progress).release
    root = _root(archive, name, release, progress)
    folder = Path(tempfile.mkdtemp(prefix="build-", dir=root))
    try:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        script = ["sh", "-ec", _MAKE, "sh", str(root), release, f"/{folder.name}"]
        hosttools.run([*namespace, *script], what=f"building the kernel module in {source}")
        return [Path(shutil.copy(made, into)) for made in sorted(folder.glob("*.ko"))]
    finally:
        shutil.rmtree(folder)


def _root(archive: Archive, name: str, release: str, progress: Progress) -> Path:
    suite = KERNELS[name].suite

    def make(into: Path) -> dict[str, Any]:
        hosttools.require(TOOLS)
        progress.stage(f"kernel {name}: headers and a compiler of Debian {suite} (minutes)")
        tarball, tree = into / "root.tar", into / "tree"
        hosttools.run(
            [
                "mmdebstrap",
                "--variant=minbase",
                "--architectures=amd64",
                f"--include=linux-headers-{release},make",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED),
                suite,
                tarball,
                archive.sources_line(suite),
            ],
            what="building the root file system with the kernel's headers",
        )
        tree.mkdir()
        hosttools.run(
            ["tar", "xf", tarball, "-C", tree, "--no-same-owner", "--exclude=./dev/*"],
            what="unpacking the root file system with the kernel's headers",
        )
        tarball.unlink()
        return {"version": f"linux-headers-{release}"}

    return cache.ensure(kind(name), inputs(archive, name, release), make, progress) / "tree"
