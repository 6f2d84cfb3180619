"""Lists the lab's cache: artefacts, versions of the packages, sizes, keys."""

from pathlib import Path

from lab import cache, emulator, kernel_files, module, rootfs
from lab.failures import LabError
from lab.kernel import KERNELS
from lab.packages import Archive
from lab.progress import Progress

_ROOTS = {rootfs.kind(name): name for name in rootfs.ROOTS}
_HEADERS = {module.kind(name): name for name in KERNELS}
_KINDS = ("emulator", *_ROOTS, *(f"kernel-{name}" for name in KERNELS), *_HEADERS)


def text() -> str:
    """A table with one line per artefact; nothing is built and the network is not used."""
    current = _current()
    lines = [f"cache: {cache.folder()} ({cache.size(cache.folder()) >> 20} MB)"]
    for kind in _KINDS:
        artefacts = _artefacts(kind)
        if not artefacts:
            lines.append(f"{kind:14} not built")
        for path in artefacts:
            info = cache.info(path)
            version = info.get("release") or info.get("version")
            old = "" if path in current else "  unused"
            lines.append(f"{kind:14} {path.name}  {cache.size(path) >> 20:4} MB  {version}{old}")
    return "\n".join(lines)


def unused() -> list[Path]:
    """Folders of artefacts that differ from today's patches, recipes, compiler or packages."""
    current = _current()
    return [path for kind in _KINDS for path in _artefacts(kind) if path not in current]


def _artefacts(kind: str) -> list[Path]:
    folder = cache.folder() / kind
    return sorted(path for path in folder.glob("*") if (path / cache.INFO).is_file())


def _current() -> set[Path]:
    archive = Archive(Progress(quiet=True), offline=True)
    found = set()
    for kind in _KINDS:
        try:
            if kind == "emulator":
                path = cache.find(kind, emulator.inputs(archive))
            elif kind in _HEADERS:
                name = _HEADERS[kind]
                kernel = cache.find(f"kernel-{name}", kernel_files.inputs(archive, name))
                release = cache.info(kernel)["release"] if kernel else ""
                path = cache.find(kind, module.inputs(archive, name, release))
            elif kind in _ROOTS:
                path = cache.find(kind, rootfs.inputs(archive, _ROOTS[kind]))
            else:
                path = cache.find(kind, kernel_files.inputs(archive, kind.removeprefix("kernel-")))
        except LabError:
            continue
        if path:
            found.add(path)
    return found
