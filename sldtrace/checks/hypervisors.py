"""Loaded modules other than KVM that run guests by VMX, and so handle the #AC of split locks themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sldtrace.checks.result import Check, Fix, Places, State
from sldtrace.host import kernel, kvm, modules, vmx
from sldtrace.host.distribution import Distribution
from sldtrace.host.modules import Module, UnreadableError
from sldtrace.host.vmx import Scan

# Their VMX instructions may be in an image that they load at run time, and not in the module's file.
KNOWN = {"vboxdrv": "VirtualBox", "vmmon": "VMware", "haxm": "HAXM", "jailhouse": "Jailhouse"}


@dataclass(frozen=True)
class Scanned:
    """One module: what its file contains, or why that was not read; loaded: is the file what was loaded?"""

    module: Module
    scan: Scan | None
    error: str = ""
    loaded: bool | None = None

    @property
    def confidence(self) -> str | None:
        """`known` by its name, `certain` or `possible` by its code; None: runs no guests, or was not read."""
        if self.module.name in KNOWN:
            return "known"
        if self.scan is None:
            return None
        return "certain" if self.scan.certain else "possible" if self.scan.possible else None


def scan(places: Places, folder: Path | None = None) -> list[Scanned]:
    """Every loaded module that is not KVM; folder: of the modules' files; None: /lib/modules/RELEASE."""
    found = []
    release = kernel.release()
    files = modules.paths(folder or places.root / "lib/modules" / release)
    for module in modules.loaded(places.proc):
        if module.name not in kvm.NAMES:
            found.append(_scan(module, files.get(module.name), places))
    return found


def _scan(module: Module, path: Path | None, places: Places) -> Scanned:
    if path is None:
        return Scanned(module, None, "its file is not below /lib/modules")
    try:
        elf = modules.unpack(path)
        found = vmx.scan(elf)
    except (UnreadableError, ValueError) as error:
        return Scanned(module, None, f"{path}: {error}")
    loaded = modules.loaded_source_version(module.name, places.sys)
    written = modules.source_version(elf)
    return Scanned(module, found, "", loaded == written if loaded and written else None)


def checks(scanned: list[Scanned], distribution: Distribution) -> Iterator[Check]:
    """One check for each module that runs or may run guests, and one for all others."""
    suspects = [one for one in scanned if one.confidence]
    for one in suspects:
        yield _suspect(one)
    yield _others(scanned, suspects, distribution)


def _suspect(one: Scanned) -> Check:
    name, scan = one.module.name, one.scan
    who = f"module {name}" + (f" ({KNOWN[name]})" if name in KNOWN else "")
    tree = ", out of tree" if one.module.out_of_tree else ""
    if one.confidence == "known":
        text = f"{who}{tree} runs guests without KVM, known by its name"
    elif one.confidence == "certain":
        text = f"{who}{tree} has the VMX instructions of a hypervisor: {_hits(scan)}"
    else:
        text = (
            f"{who}{tree} has a few byte sequences of VMX instructions, perhaps by coincidence: {_hits(scan)}"
        )
    handles = scan is not None and scan.handles
    if handles:
        text += "; it calls handle_guest_split_lock as KVM does, so its guests get the same penalty"
    else:
        text += (
            "; it does not call handle_guest_split_lock, so it handles the split locks of its guests itself: "
            "a guest may get an unexpected #AC, or no penalty; recordings show only the traps that the "
            "kernel handles"
        )
    if one.loaded is False:
        text += "; the file is not the one that was loaded (srcversion differs)"
    certain = one.confidence != "possible"
    fix = Fix(f"modprobe -r {name}", "end its virtual machines first")
    data = _data(one)
    return Check(
        "hypervisor module", State.PROBLEM if certain else State.NOTE, text, (fix,) if certain else (), data
    )


def _hits(scan: Scan | None) -> str:
    if scan is None:
        return ""
    return ", ".join(f"{name} {count}" for name, count in scan.hits.items() if count)


def _others(scanned: list[Scanned], suspects: list[Scanned], distribution: Distribution) -> Check:
    read = [one for one in scanned if one.scan is not None]
    unread = [one for one in scanned if one.scan is None and one not in suspects]
    foreign = [one.module.name for one in scanned if one.module.out_of_tree]
    data = {
        "scanned": len(read),
        "not_read": [{"name": one.module.name, "error": one.error} for one in unread],
        "out_of_tree": foreign,
    }
    text = f"{len(read)} of {len(scanned)} loaded modules other than KVM scanned for VMX instructions"
    if not scanned:
        text = "no modules other than KVM are loaded"
    text += f"; out of tree: {', '.join(foreign)}" if foreign else "; none is out of tree"
    if not unread:
        return Check("other modules", State.OK, text, (), data)
    first = unread[0]
    text += f"; not read: {first.module.name} ({first.error})"
    text += f" and {len(unread) - 1} more" if len(unread) > 1 else ""
    missing_zstd = any("zstd is not installed" in one.error for one in unread)
    fix = Fix(distribution.install("zstd")) if missing_zstd else Fix(f"modinfo -n {first.module.name}")
    return Check("other modules", State.UNKNOWN, text, (fix,), data)


def _data(one: Scanned) -> dict[str, object]:
    return {
        "module": one.module.name,
        "confidence": one.confidence,
        "out_of_tree": one.module.out_of_tree,
        "handles_split_locks": None if one.scan is None else one.scan.handles,
        "hits": None if one.scan is None else one.scan.hits,
        "background": None if one.scan is None else one.scan.background,
        "code_bytes": None if one.scan is None else one.scan.code_bytes,
        "file_is_loaded": one.loaded,
    }
