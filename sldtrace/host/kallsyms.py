"""Symbols of the kernel and its modules, from /proc/kallsyms."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PATH = Path("/proc/kallsyms")

HANDLER = "handle_guest_split_lock"
"""The function that KVM calls for the #AC of a guest's split lock (d7e94dbdac1a, 5.7)."""

PER_CPU_WORK = "sl_reenable"
"""The work item of the re-enable; a per-CPU variable since c929d08df8be (6.15)."""
GENERATION_SYMBOLS = frozenset(
    {
        HANDLER,
        "__split_lock_reenable",
        "__split_lock_reenable_unlock",
        "setup_split_lock_delayed_work",
        PER_CPU_WORK,
    }
)
"""The symbols that distinguish the generations of the handler (see model.generation): functions that no
compiler removes, because their address is taken, and PER_CPU_WORK if it is per CPU. A backport has them."""

KVM = "kvm"
"""The module whose functions `kvm_functions` gives."""


@dataclass(frozen=True)
class _Kept:
    generation: frozenset[str]
    kvm: tuple[tuple[int, str], ...]


def functions(names: Iterable[str], path: Path = PATH) -> set[str]:
    """Those of the names that are functions of the kernel (of its image or of a module)."""
    return _functions(names, path.read_bytes())


def generation_symbols(path: Path = PATH) -> frozenset[str]:
    """Which of GENERATION_SYMBOLS this kernel has.

    A variable is listed with CONFIG_KALLSYMS_ALL only. One for each CPU is an offset there, so absolute (A);
    since 6.15 it is an address like others, but then there is setup_split_lock_delayed_work (0e1ff67d164b).
    """
    return _kept(path).generation


def kvm_functions(path: Path = PATH) -> tuple[tuple[int, str], ...]:
    """Address and name of each function of the module kvm, by address.

    Empty if it is not loaded, is part of the image, or addresses are hidden (kernel.kptr_restrict).
    """
    return _kept(path).kvm


# Both at once and only once: the kernel writes some 100,000 lines each time.
@cache
def _kept(path: Path) -> _Kept:
    text = path.read_bytes()
    per_cpu = re.search(rb" [aA] " + PER_CPU_WORK.encode() + rb"\s", text)
    symbols = frozenset(_functions(GENERATION_SYMBOLS, text)) | ({PER_CPU_WORK} if per_cpu else set())
    return _Kept(symbols, tuple(sorted(_of_module(KVM, text))))


def _functions(names: Iterable[str], text: bytes) -> set[str]:
    either = b"|".join(re.escape(name.encode()) for name in names)
    # In one search: line by line takes seconds on a slow host.
    lines = re.finditer(rb" [tTwW] (" + either + rb")(?=\s)", text)
    return {match[1].decode() for match in lines} if either else set()


def _of_module(module: str, text: bytes) -> list[tuple[int, str]]:
    mark, found, end = f"\t[{module}]\n".encode(), [], -1
    while (end := text.find(mark, end + 1)) >= 0:
        address, kind, name = text[text.rfind(b"\n", 0, end) + 1 : end].decode("ascii", "replace").split()
        if kind in "tT" and int(address, 16):
            found.append((int(address, 16), name))
    return found
