"""Symbols of kernels and modules, from fake /proc/kallsyms."""

from pathlib import Path

import pytest

from sldtrace.host import kallsyms

KALLSYMS = """\
0000000000000000 T handle_guest_split_lock
0000000000000000 t split_lock_warn
0000000000000000 t split_lock_warn.cold
0000000000000000 d sld_state
0000000000000000 T msleep_interruptible
0000000000000000 W weak_function
0000000000000000 r __ksymtab_handle_guest_split_lock
0000000000000000 t down_interruptible\t[some_module]
cut
"""


def listed(folder: Path, text: str = KALLSYMS) -> Path:
    (folder / "kallsyms").write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder / "kallsyms"


def test_symbols_are_functions_of_exactly_that_name(tmp_path: Path) -> None:
    names = {
        "handle_guest_split_lock",
        "split_lock_warn",
        "msleep_interruptible",
        "down_interruptible",
        "weak_function",
        "sld_state",
        "missing",
        "some_module",
    }
    assert kallsyms.functions(names, listed(tmp_path)) == names - {"sld_state", "missing", "some_module"}


def test_a_clone_of_a_function_is_not_the_function(tmp_path: Path) -> None:
    text = "0 t split_lock_warn.isra.0\n0 t split_lock_warn.cold\n0 t __split_lock_warn\n"
    assert kallsyms.functions({"split_lock_warn"}, listed(tmp_path, text)) == set()


@pytest.mark.parametrize(("kind", "per_cpu"), [("A", True), ("a", True), ("d", False), ("D", False)])
def test_the_work_item_tells_a_generation_where_it_is_one_for_each_cpu(
    kind: str, per_cpu: bool, tmp_path: Path
) -> None:
    """As 6.1.176 (A) and 6.12.107 (d) of Debian have it."""
    text = f"1fba0 {kind} sl_reenable\n2 d sl_reenable_unlock\n3 t __split_lock_reenable\n3 A sl_reenable_x\n"
    found = kallsyms.generation_symbols(listed(tmp_path, text))
    assert found == {"__split_lock_reenable"} | ({"sl_reenable"} if per_cpu else set())


def test_symbols_survive_bytes_that_are_no_text(tmp_path: Path) -> None:
    text = "0 t \udcff\udcfe\n0 T msleep_interruptible\n"
    assert kallsyms.functions({"msleep_interruptible"}, listed(tmp_path, text)) == {"msleep_interruptible"}


MODULES = (
    "ffffffffc0a02000 t kvm_late\t[kvm]\n"
    "ffffffffc0a01000 T kvm_early\t[kvm]\n"
    "ffffffffc0a01800 d kvm_data\t[kvm]\n"
    "ffffffffc0b00000 t vmx_exit\t[kvm_intel]\n"
    "ffffffff81000000 T _text\n"
    "ffffffffc0a01900 t bpf_prog_x\t[bpf]\n"
)


def test_functions_of_a_module_by_address(tmp_path: Path) -> None:
    assert kallsyms.kvm_functions(listed(tmp_path, MODULES)) == (
        (0xFFFFFFFFC0A01000, "kvm_early"),
        (0xFFFFFFFFC0A02000, "kvm_late"),
    )


def test_addresses_that_are_hidden_are_none(tmp_path: Path) -> None:
    """kernel.kptr_restrict shows all of them as 0."""
    text = "0000000000000000 t kvm_late\t[kvm]\n"
    assert kallsyms.kvm_functions(listed(tmp_path, text)) == ()


def test_the_kernel_writes_the_list_once(tmp_path: Path) -> None:
    path = listed(tmp_path, MODULES)
    found = kallsyms.kvm_functions(path)
    path.unlink()
    assert kallsyms.generation_symbols(path) == frozenset()
    assert kallsyms.kvm_functions(path) == found


@pytest.mark.parametrize(
    ("line", "has"), [("t handle_bus_lock", True), ("r __ksymtab_handle_bus_lock", False)]
)
def test_the_handler_of_bus_locks(line: str, has: bool, tmp_path: Path) -> None:
    assert kallsyms.has_bus_lock_handler(listed(tmp_path, KALLSYMS + f"0000000000000000 {line}\n")) is has
