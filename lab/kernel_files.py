"""Takes a stock Debian kernel apart: the bzImage, the modules that the lab loads, and a static busybox."""

import lzma
import re
import struct
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lab import cache, hosttools
from lab.failures import LabError
from lab.kernel import KERNELS
from lab.packages import SUITE, Archive, Package
from lab.progress import Progress

BUSYBOX = [f"busybox-static/{SUITE}"]
TOOLS = ("apt-get", "apt-cache", "dpkg-deb")

# What the machine loads; their dependencies are found in the modules. Absent ones are built in.
MODULES = ("ata_piix", "sd_mod", "kvm-intel", "msr")
_REQUIRED = ("kvm-intel",)

_SIGNED = b"~Module signature appended~\n"
_SIGNATURE_TRAILER = 12  # sizeof(struct module_signature)


@dataclass(frozen=True)
class KernelFiles:
    """A kernel in the cache: `release` is its uname -r, `modules` stand in loading order."""

    name: str
    release: str
    package: str
    folder: Path
    modules: tuple[str, ...]

    @property
    def vmlinuz(self) -> Path:
        """The bzImage."""
        return self.folder / "vmlinuz"

    @property
    def busybox(self) -> Path:
        """The static busybox of the initramfs."""
        return self.folder / "busybox"


def inputs(archive: Archive, name: str) -> dict[str, Any]:
    """Everything that the artefact depends on."""
    return {
        "packages": {p.filename: p.sha256 for p in _packages(archive, name)},
        "modules": MODULES,
        "format": 2,
    }


def ensure(archive: Archive, name: str, progress: Progress) -> KernelFiles:
    """The kernel, taken from its packages when it is not in the cache."""
    folder = cache.ensure(
        f"kernel-{name}", inputs(archive, name), lambda into: _build(archive, name, progress, into), progress
    )
    info = cache.info(folder)
    return KernelFiles(name, info["release"], info["package"], folder, tuple(info["modules"]))


def _packages(archive: Archive, name: str) -> list[Package]:
    return archive.resolve_kernel(KERNELS[name].package) + archive.resolve(BUSYBOX)


def _build(archive: Archive, name: str, progress: Progress, into: Path) -> dict[str, Any]:
    hosttools.require(TOOLS)
    *images, busybox = _packages(archive, name)
    progress.stage(f"kernel {name}: fetching {images[0].name}")
    kept: dict[str, bytes] = {}
    for package in [*images, busybox]:
        deb = archive.download(package, into)
        for path, data in _members(deb):
            kept[path] = data
        deb.unlink()
    image = [path for path in kept if PurePosixPath(path).name.startswith("vmlinuz")]
    if len(image) != 1:
        raise LabError(f"the packages of kernel {name} hold {len(image)} kernels")
    release = images[0].name.split("-", 2)[2]
    modules = {_module_name(path): data for path, data in kept.items() if ".ko" in path}
    order = loading_order(modules)
    (into / "vmlinuz").write_bytes(kept[image[0]])
    (into / "busybox").write_bytes(next(data for path, data in kept.items() if path.endswith("bin/busybox")))
    for module in order:
        (into / f"{module}.ko").write_bytes(modules[module])
    progress.stage(f"kernel {name}: {release} ready")
    return {"release": release, "package": f"{images[0].name} {images[0].version}", "modules": order}


def loading_order(modules: dict[str, bytes]) -> list[str]:
    """MODULES with what they depend on, each after its dependencies (the "depends=" of .modinfo)."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        match = re.search(rb"\0depends=([^\0]*)\0", modules[name])
        for dependency in filter(None, (match.group(1).decode() if match else "").split(",")):
            if dependency.replace("_", "-") in modules or dependency in modules:
                visit(dependency if dependency in modules else dependency.replace("_", "-"))
        order.append(name)

    for name in _REQUIRED:
        if name not in modules:
            raise LabError(f"the kernel's packages have no module {name}")
    for name in MODULES:
        if name in modules:
            visit(name)
    return order


def _members(deb: Path) -> list[tuple[str, bytes]]:
    process = hosttools.start(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    assert process.stdout is not None
    found = []
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if member.isfile() and (name.startswith("vmlinuz") or ".ko" in name or name == "busybox"):
                    content = tar.extractfile(member)
                    assert content is not None
                    found.append((member.name, _plain(member.name, content.read())))
    except (tarfile.TarError, OSError, lzma.LZMAError) as error:
        raise LabError(f"{deb.name} cannot be unpacked: {error}") from None
    finally:
        process.stdout.close()
        hosttools.end(process)
    return found


def _plain(name: str, data: bytes) -> bytes:
    if ".ko" not in name:
        return data
    return without_signature(lzma.decompress(data) if name.endswith(".xz") else data)


def without_signature(module: bytes) -> bytes:
    """The module without the signature after its ELF image (struct module_signature, module_signature.h).

    Checking one costs the machine a second of its time; the kernel then taints itself with E and
    loads the same code.
    """
    if not module.endswith(_SIGNED):
        return module
    size = struct.unpack(">I", module[-len(_SIGNED) - 4 : -len(_SIGNED)])[0]
    return module[: -len(_SIGNED) - _SIGNATURE_TRAILER - size]


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.partition(".ko")[0]
