"""The C half against what Python says of it: tracepoints, functions, maps and macros have the same names."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sldtrace import resources
from sldtrace.capture import probes, program
from sldtrace.recording import schema

SOURCES = {path.name: path for path in sorted(resources.bpf().glob("*.bpf.c"))}
NEEDS = dict(program._SOURCES)


def code(name: str) -> str:
    """The text of a source without its comments."""
    text = SOURCES[name].read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def everything() -> str:
    return "".join(map(code, SOURCES))


def tracepoints(text: str) -> list[str]:
    return [":".join(found) for found in re.findall(r"\bTRACEPOINT_PROBE\((\w+), (\w+)\)", text)]


def test_every_source_is_compiled() -> None:
    assert [name for name, _ in program._SOURCES] == list(NEEDS)
    assert set(NEEDS) == set(SOURCES)


def test_every_tracepoint_is_attached_and_the_other_way_round() -> None:
    found = tracepoints(everything())
    assert len(found) == len(set(found))
    assert set(found) == {*probes._TRACEPOINTS, *probes._ON_FIRST_TRAP}
    assert not set(probes._TRACEPOINTS) & set(probes._ON_FIRST_TRAP)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_left_out_by_a_tracepoint_of_its_own(name: str) -> None:
    """All tracepoints of a file belong to one subsystem, which is there as a whole or not at all."""
    needs, found = NEEDS[name], tracepoints(code(name))
    if needs is None:
        # sched and its tracepoints are in every kernel that can trace.
        assert {each.split(":")[0] for each in found} <= {"sched"}
    else:
        assert needs in found
        assert {each.split(":")[0] for each in found} == {needs.split(":")[0]}


@pytest.mark.parametrize("function", probes._FUNCTIONS)
def test_every_function_has_both_ends_by_both_backends(function: str) -> None:
    text = code("trap.bpf.c")
    for pattern in (
        rf"\bKFUNC_PROBE\({function}\b",
        rf"\bKRETFUNC_PROBE\({function}\b",
        rf"\bint kprobe__{function}\(",
        rf"\bint kretprobe__{function}\(",
        rf"#ifndef SLD_KPROBE_{function}\n",
    ):
        assert len(re.findall(pattern, text)) == 1, pattern


def test_no_other_function_is_hooked() -> None:
    hooked = re.findall(r"(?:KFUNC_PROBE|KRETFUNC_PROBE)\((\w+)|\bk(?:ret)?probe__(\w+)\(", everything())
    assert {first or second for first, second in hooked} == set(probes._FUNCTIONS)


def test_outer_functions_are_attached_last() -> None:
    """handle_guest_split_lock calls split_lock_warn, which calls the other two (kernel: bus_lock.c)."""
    order = probes._FUNCTIONS.index
    assert order("handle_guest_split_lock") > order("split_lock_warn")
    assert order("split_lock_warn") > max(order("msleep_interruptible"), order("down_interruptible"))
    assert set(probes._FUNCTIONS) > probes._REQUIRED


def test_rings_have_the_names_and_sizes_that_python_gives_them() -> None:
    found = dict(re.findall(r"\bBPF_RINGBUF_OUTPUT\((\w+), (\w+)\)", everything()))
    assert found == {ring: f"SLD_{kind.upper()}_PAGES" for kind, ring in program.RINGS.items()}


def test_kinds_that_come_through_a_ring_are_kinds_of_record() -> None:
    records = schema.current().records
    assert set(program.RINGS) < set(records) - {"lost"}


@pytest.mark.parametrize("table", ["tallies", "control"])
def test_tables_that_python_maps_can_be_mapped(table: str) -> None:
    assert re.search(
        rf'\bBPF_F_TABLE\("array", u32, u64, {table}, [^;]*BPF_F_MMAPABLE\);', code("thread.bpf.c")
    )


def test_control_has_room_for_every_entry() -> None:
    (size,) = re.findall(r"u64, control, (\d+),", code("thread.bpf.c"))
    assert int(size) == max(schema.enumeration("control").values.values()) + 1


def test_counters_have_room_for_every_kind_and_cause() -> None:
    sizes = schema.enumeration("tallies").values
    assert sizes["KINDS"] > max(record.number for record in schema.current().records.values())
    assert sizes["CAUSES"] > max(schema.current().enums["lost_cause"].values.values())


def test_every_macro_that_python_defines_is_used_and_the_other_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(program.kernel, "has_tracepoint", lambda *_: True)
    _, flags = program.source(1, program.Sizes(), probes._FUNCTIONS)
    defined = {flag.removeprefix("-D").split("=")[0] for flag in flags}
    text = everything()
    own = set(re.findall(r"#define (\w+)", text))
    header = (resources.bpf() / "events.h").read_text(encoding="utf-8")
    constants = set(re.findall(r"\bSLD_[A-Z_]+\b", header))
    used = set(re.findall(r"\bSLD_\w+\b", text))
    assert used - own - constants == defined


def test_nothing_of_the_kernels_own_structures_is_read() -> None:
    """So that no kernel headers are needed, and no version of the kernel has another layout."""
    text = everything()
    assert "bpf_probe_read" not in text
    assert "task_struct" not in text
    assert set(re.findall(r"#include <(.+)>", text)) == {"uapi/linux/ptrace.h"}


def test_bit_29_is_the_one_of_detection() -> None:
    """Intel SDM volume 4, MSR_TEST_CTRL (0x33)."""
    text = code("detection.bpf.c")
    assert re.search(r"#define SLD_MSR_TEST_CTRL 0x33\n", text)
    assert re.search(r"#define SLD_TEST_CTRL_DETECT \(1ULL << 29\)", text)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_stand_in_headers_are_c(tmp_path: Path) -> None:
    """bcc puts them before every program; each must compile by itself, and twice."""
    stub = resources.bpf() / "stub" / "include"
    headers = sorted(str(path.relative_to(stub)) for path in stub.rglob("*.h"))
    assert "linux/types.h" in headers
    for name in headers:
        source = tmp_path / "one.c"
        source.write_text(f"#include <linux/types.h>\n#include <{name}>\n#include <{name}>\n")
        command = ["gcc", "-std=gnu11", "-fsyntax-only", "-nostdinc", f"-I{stub}", str(source)]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, f"{name}: {built.stderr}"


OFFSETS = """
#include <stddef.h>
#include <stdio.h>
#include <asm/ptrace.h>
int main(void)
{
	printf("%zu %zu", offsetof(struct pt_regs, rdi), offsetof(struct pt_regs, rax));
	return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None or os.uname().machine != "x86_64", reason="needs gcc on x86")
def test_the_registers_of_a_kprobe_lie_where_the_kernel_puts_them(tmp_path: Path) -> None:
    """The first argument and the result; the kernel's own header (for user space) has the same order."""
    (tmp_path / "theirs.c").write_text(OFFSETS)
    ours = OFFSETS.replace("#include <asm/ptrace.h>", "#include <uapi/linux/ptrace.h>")
    (tmp_path / "ours.c").write_text(ours.replace("rdi", "di").replace("rax", "ax"))
    stub = resources.bpf() / "stub" / "include" / "uapi" / "linux"
    (tmp_path / "uapi" / "linux").mkdir(parents=True)
    shutil.copy(stub / "ptrace.h", tmp_path / "uapi" / "linux")
    told = []
    for name in ("theirs", "ours"):
        built = subprocess.run(
            ["gcc", f"-I{tmp_path}", f"{name}.c", "-o", name], cwd=tmp_path, capture_output=True, text=True
        )
        if "asm/ptrace.h" in built.stderr:
            pytest.skip("the kernel's headers for user space are not installed")
        assert built.returncode == 0, built.stderr
        told.append(subprocess.run([tmp_path / name], capture_output=True, text=True, check=True).stdout)
    assert told[0] == told[1]
