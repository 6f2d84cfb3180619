"""Live patches that replace the kernel functions which sldtrace watches."""

from collections.abc import Mapping
from pathlib import Path

from sldtrace.host import kallsyms


def replaced(sys: Path = Path("/sys")) -> dict[str, list[str]]:
    """The functions of kallsyms.WATCHED that are replaced, each with the names of its live patches.

    From the folders PATCH/vmlinux/FUNCTION,NUMBER (Documentation/ABI/testing/sysfs-kernel-livepatch), which
    are there from when a patch is loaded until it is removed.
    """
    found: dict[str, list[str]] = {}
    for folder in sorted((sys / "kernel/livepatch").glob("*/vmlinux/*,*")):
        function = folder.name.partition(",")[0]
        if function in kallsyms.WATCHED:
            found.setdefault(function, []).append(folder.parent.parent.name)
    return found


def sentence(found: Mapping[str, list[str]]) -> str:
    """Which functions are replaced, by which patches; empty if none is."""
    if not found:
        return ""
    functions = ", ".join(sorted(found))
    patches = ", ".join(sorted({name for names in found.values() for name in names}))
    return f"{functions} {'is' if len(found) == 1 else 'are'} replaced by a live patch ({patches})"
