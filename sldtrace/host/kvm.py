"""Which half of KVM drives this CPU."""

from pathlib import Path

from sldtrace.host import modules

_NEEDS = {"kvm_intel": "vmx", "kvm_amd": "svm", "kvm_pvm": ""}
"""The drivers, and the CPU flag without which each does not come up; kvm_pvm (out of tree) needs none."""

NAMES = frozenset({"kvm", *_NEEDS})
"""The modules that are KVM."""


def module(flags: set[str], proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> str | None:
    """kvm_intel, kvm_amd or kvm_pvm, loaded or built in (then only /sys/module has it); None: no KVM."""
    loaded = {one.name for one in modules.loaded(proc)}
    here = [name for name in _NEEDS if name in loaded]
    here += [
        name
        for name, flag in _NEEDS.items()
        if (sys / "module" / name).is_dir() and (not flag or flag in flags)
    ]
    return here[0] if here else None


def nested(module: str | None, sys: Path = Path("/sys")) -> bool | None:
    """Does the module allow guests that run guests themselves? None: not known."""
    try:
        return (sys / f"module/{module}/parameters/nested").read_text().strip() in ("1", "Y")
    except OSError:
        return None
