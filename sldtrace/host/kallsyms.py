"""Symbols of the kernel and its modules, from /proc/kallsyms."""

import re
from collections.abc import Collection, Iterable
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

WATCHED = (
    *("down_interruptible", "msleep_interruptible", "handle_user_split_lock", "split_lock_warn"),
    HANDLER,
)
"""The functions in which the probes follow a trap, the inner ones first."""

BUS_LOCK = "handle_bus_lock"
"""The function that the kernel calls for the #DB of a bus lock (ebb1064e7c2e, 5.13)."""

KVM = "kvm"
"""The module whose functions `kvm_functions` gives."""


@dataclass(frozen=True)
class _Kept:
    generation: frozenset[str]
    bus_lock: bool
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


def has_bus_lock_handler(path: Path = PATH) -> bool:
    """Has this kernel BUS_LOCK?"""
    return _kept(path).bus_lock


def kvm_functions(path: Path = PATH) -> tuple[tuple[int, str], ...]:
    """Address and name of each function of the module kvm, by address.

    Empty if it is not loaded, is part of the image, or addresses are hidden (kernel.kptr_restrict).
    """
    return _kept(path).kvm


_CODE, _ABSOLUTE = (b" t", b" T", b" w", b" W"), (b" a", b" A")


# Both at once and only once: the kernel writes some 170,000 lines each time.
@cache
def _kept(path: Path) -> _Kept:
    text = path.read_bytes()
    found = frozenset(_functions({*GENERATION_SYMBOLS, BUS_LOCK}, text))
    symbols = found & GENERATION_SYMBOLS
    if _listed(PER_CPU_WORK, _ABSOLUTE, text):
        symbols |= {PER_CPU_WORK}
    return _Kept(symbols, BUS_LOCK in found, tuple(sorted(_of_module(KVM, text))))


def _functions(names: Iterable[str], text: bytes) -> set[str]:
    return {name for name in names if _listed(name, _CODE, text)}


# Whether a symbol has that name and one of these types. No regular expression: each takes ten times as long.
def _listed(name: str, types: Collection[bytes], text: bytes) -> bool:
    mark, at = b" " + name.encode(), -1
    while (at := text.find(mark, at + 1)) >= 0:
        end = at + len(mark)
        if text[at - 2 : at] in types and text[end : end + 1].isspace():
            return True
    return False


# The kernel lists the symbols of a module one after the other.
def _of_module(module: str, text: bytes) -> list[tuple[int, str]]:
    mark = f"\t[{module}]\n".encode()
    first, end = text.rfind(b"\n", 0, max(text.find(mark), 0)) + 1, text.rfind(mark) + len(mark)
    line = re.compile(rb"^([0-9a-f]+) [tT] (\S+)" + re.escape(mark), re.MULTILINE)
    found = (
        (int(address, 16), name.decode("ascii", "replace"))
        for address, name in line.findall(text, first, end)
    )
    return [(address, name) for address, name in found if address]
