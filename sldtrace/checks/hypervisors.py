"""Loaded modules other than KVM that run guests by VMX: they meet the #AC of split locks themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sldtrace.checks.result import Check, Fix, Places, State
from sldtrace.host import kernel, kvm, modules, vmx
from sldtrace.host.distribution import Distribution
from sldtrace.host.modules import Module, UnreadableError
from sldtrace.host.vmx import Scan

# Their VMX instructions are in an image that they load at run time, so the module's file need not have them.
KNOWN = {"vboxdrv": "VirtualBox", "vmmon": "VMware", "haxm": "HAXM", "jailhouse": "Jailhouse"}


@dataclass(frozen=True)
class Looked:
    """One module: what its file holds, or why that could not be seen; same: is the file what was loaded?"""

    module: Module
    scan: Scan | None
    why_not: str = ""
    same: bool | None = None

    @property
    def sure(self) -> str | None:
        """`known` by its name, `certain` or `possible` by its code; None: runs no guests, or was not seen."""
        if self.module.name in KNOWN:
            return "known"
        if self.scan is None:
            return None
        return "certain" if self.scan.certain else "possible" if self.scan.possible else None


def look(places: Places, folder: Path | None = None) -> list[Looked]:
    """Every loaded module that is not KVM; folder: of the modules' files, /lib/modules/RELEASE if None."""
    found = []
    release = kernel.release()
    files = modules.paths(folder or places.root / "lib/modules" / release)
    for module in modules.loaded(places.proc):
        if module.name not in kvm.NAMES:
            found.append(_look(module, files.get(module.name), places))
    return found


def _look(module: Module, path: Path | None, places: Places) -> Looked:
    if path is None:
        return Looked(module, None, "its file is not below /lib/modules")
    try:
        elf = modules.unpack(path)
        found = vmx.scan(elf)
    except (UnreadableError, ValueError) as error:
        return Looked(module, None, f"{path}: {error}")
    loaded = modules.loaded_source_version(module.name, places.sys)
    written = modules.source_version(elf)
    return Looked(module, found, "", loaded == written if loaded and written else None)


def checks(looked: list[Looked], distribution: Distribution) -> Iterator[Check]:
    """One check for each module that runs or may run guests, and one for all the others."""
    suspects = [one for one in looked if one.sure]
    for one in suspects:
        yield _suspect(one)
    yield _others(looked, suspects, distribution)


def _suspect(one: Looked) -> Check:
    name, scan = one.module.name, one.scan
    who = f"module {name}" + (f" ({KNOWN[name]})" if name in KNOWN else "")
    tree = ", out of tree" if one.module.out_of_tree else ""
    if one.sure == "known":
        text = f"{who}{tree} runs guests without KVM, known by its name"
    elif one.sure == "certain":
        text = f"{who}{tree} has the VMX instructions of a hypervisor: {_hits(scan)}"
    else:
        text = f"{who}{tree} has bytes that look like VMX instructions, perhaps by chance: {_hits(scan)}"
    handles = scan is not None and scan.handles
    if handles:
        text += "; it calls handle_guest_split_lock as KVM does, so its guests are punished in the same way"
    else:
        text += (
            "; it does not call handle_guest_split_lock, so what a split lock of its guests does is "
            "up to it: the guest may get an #AC that it does not expect, or run on not_penalized; recordings "
            "show only what the kernel punishes"
        )
    if one.same is False:
        text += "; the file is not the one that was loaded (srcversion differs)"
    certain = one.sure != "possible"
    fix = Fix(f"modprobe -r {name}", "its virtual machines have to be ended before")
    data = _data(one)
    return Check(
        "hypervisor module", State.PROBLEM if certain else State.NOTE, text, (fix,) if certain else (), data
    )


def _hits(scan: Scan | None) -> str:
    if scan is None:
        return ""
    return ", ".join(f"{name} {count}" for name, count in scan.hits.items() if count)


def _others(looked: list[Looked], suspects: list[Looked], distribution: Distribution) -> Check:
    seen = [one for one in looked if one.scan is not None]
    unseen = [one for one in looked if one.scan is None and one not in suspects]
    foreign = [one.module.name for one in looked if one.module.out_of_tree]
    data = {
        "scanned": len(seen),
        "unseen": [{"name": one.module.name, "why_not": one.why_not} for one in unseen],
        "out_of_tree": foreign,
    }
    text = f"{len(seen)} of {len(looked)} loaded modules beside KVM scanned for VMX instructions"
    if not looked:
        text = "no modules are loaded beside KVM"
    text += f"; out of tree: {', '.join(foreign)}" if foreign else "; none is out of tree"
    if not unseen:
        return Check("other modules", State.OK, text, (), data)
    first = unseen[0]
    text += f"; not seen: {first.module.name} ({first.why_not})"
    text += f" and {len(unseen) - 1} more" if len(unseen) > 1 else ""
    missing_zstd = any("zstd is not installed" in one.why_not for one in unseen)
    fix = Fix(distribution.install("zstd")) if missing_zstd else Fix(f"modinfo -n {first.module.name}")
    return Check("other modules", State.UNKNOWN, text, (fix,), data)


def _data(one: Looked) -> dict[str, object]:
    return {
        "module": one.module.name,
        "sure": one.sure,
        "out_of_tree": one.module.out_of_tree,
        "handles_split_locks": None if one.scan is None else one.scan.handles,
        "hits": None if one.scan is None else one.scan.hits,
        "by_chance": None if one.scan is None else one.scan.chance,
        "code_bytes": None if one.scan is None else one.scan.code_bytes,
        "file_is_the_loaded_one": one.same,
    }
