"""The C half against what Python says of it: tracepoints, functions, maps and macros have the same names."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sldtrace import resources
from sldtrace.capture.bpf import probes, program, sources
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.sources import EXITS, SOURCES, Sizes, assemble
from sldtrace.host import kallsyms
from sldtrace.host import tracepoints as host_tracepoints
from sldtrace.recording import schema

FILES = {path.name: path for path in sorted(resources.bpf().glob("*.bpf.c"))}
TRACEPOINTS = {*probes._TRACEPOINTS, *probes.LATE}
LAYOUT = ("pid", "cpu", *sorted(sources._PENDING), "shared_pending", "patch_state")
TASKS = {"signal:signal_generate", "sched:sched_migrate_task"}
"""Of these there is one program of each kind: a raw one that reads the task, where BTF tells its layout."""


def code(name: str) -> str:
    """The text of a source without its comments."""
    text = FILES[name].read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def everything() -> str:
    return "".join(map(code, FILES))


def tracepoints(text: str) -> list[str]:
    """Those with a program of the macro that copies fields."""
    return [":".join(found) for found in re.findall(r"\bTRACEPOINT_PROBE\((\w+), (\w+)\)", text)]


def raw_tracepoints(text: str) -> list[str]:
    """The names of events, without a category."""
    return re.findall(r"\bRAW_TRACEPOINT_PROBE\((\w+)\)", text)


def test_every_source_is_compiled_once() -> None:
    named = [source.file for source in SOURCES]
    assert len(named) == len(set(named))
    assert set(named) == set(FILES)


def test_every_tracepoint_is_attached_and_the_other_way_round() -> None:
    assert probes._RAW <= TRACEPOINTS
    found, raw = tracepoints(everything()), raw_tracepoints(everything())
    assert sorted(found) == sorted(TRACEPOINTS - probes._RAW)
    assert sorted(raw) == sorted(name.split(":")[1] for name in (*probes._RAW, *TASKS))
    assert not set(probes._TRACEPOINTS) & {*probes.LATE}


def programs_of(name: str) -> list[str]:
    """The macro calls or functions that make the programs of a probe."""
    category, _, event = name.partition(":")
    if name in probes._RAW:
        return [f"RAW_TRACEPOINT_PROBE({event})"]
    if event:
        return [f"TRACEPOINT_PROBE({category}, {event})"]
    return [f"int kprobe__{probes._KPROBED[-1]}(", f"int kretprobe__{probes._KPROBED[-1]}("]


@pytest.mark.parametrize("name", sorted({*TRACEPOINTS, *probes._KPROBED}))
def test_why_a_probe_is_missing_is_looked_up_by_the_file_it_is_in(name: str) -> None:
    file = probes._FILES.get(name) or probes._FILES[name.partition(":")[0]]
    for start in programs_of(name):
        assert len(re.findall(rf"^{re.escape(start)}", code(file), re.MULTILINE)) == 1, start


@pytest.mark.parametrize("source", SOURCES, ids=lambda each: each.file)
def test_the_fields_that_are_read_are_those_that_are_looked_for(source: object) -> None:
    """By name, in each file that has a tracepoint with fields."""
    assert isinstance(source, type(SOURCES[0]))
    read = set(re.findall(r"\bargs->(\w+)", code(source.file)))
    if "SLD_ISA(args)" in code(source.file):
        read.add("isa")  # where the loaded module does not tell, see sources._ISAS
    assert read == source.fields | source.optional
    if read:
        assert source.tracepoint in tracepoints(code(source.file))
    for name in source.optional:
        text = code(source.file)
        assert re.search(rf"#ifdef SLD_HAS_{name}\n[^#]*\bargs->{name}\b[^#]*#endif", text)
        assert len(re.findall(rf"\bargs->{name}\b", text)) == 1


@pytest.mark.parametrize("function", probes._FUNCTIONS)
def test_every_function_has_its_ends_by_both_backends(function: str) -> None:
    text = code(probes._FILES.get(function, "trap.bpf.c"))
    assert len(re.findall(rf"#ifndef SLD_KPROBE_{function}\n", text)) == 1
    ends = probes._ENDS.get(function, probes._BOTH)
    if function == "handle_guest_split_lock":
        ends = probes._BOTH  # its entry for when split_lock_warn does not begin all runs
    for end in probes._BOTH:
        for pattern in (rf"\bK{end.upper()}FUNC_PROBE\({function}\b", rf"\bint k{end}probe__{function}\("):
            assert len(re.findall(pattern, text)) == (end in ends), pattern


def test_no_other_function_is_hooked() -> None:
    hooked = re.findall(r"(?:KFUNC_PROBE|KRETFUNC_PROBE)\((\w+)|\bint k(?:ret)?probe__(\w+)\(", everything())
    assert {first or second for first, second in hooked} == {*probes._FUNCTIONS, probes._KPROBED[-1]}


def test_the_inner_ones_of_what_is_attached_late_come_first() -> None:
    """A wait that is seen to begin is seen to end; synchronize_srcu may call synchronize_srcu_expedited."""
    for first, second in (
        ("kvm:kvm_entry", "kvm:kvm_exit"),
        ("lock:contention_end", "lock:contention_begin"),
    ):
        assert probes.LATE.index(first) < probes.LATE.index(second)
    assert probes._KPROBED[0] == "synchronize_srcu_expedited"


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
    """The recorder makes the others: counts, samples and changes of level."""
    assert set(program.RINGS) == set(schema.current().records) - {"counts", "bus_lock", "detail", "schedstat"}


@pytest.mark.parametrize("table", ["event_counts", "controls", "vcpus", "followed", "bus_locks"])
def test_tables_that_python_maps_can_be_mapped(table: str) -> None:
    assert re.search(rf'\bBPF_F_TABLE\("array", u32, [^;,]*, {table}, [^;]*BPF_F_MMAPABLE\);', everything())


def test_tables_that_python_writes_entry_by_entry() -> None:
    assert re.search(r"\bBPF_HASH\(filtered, u32, u8, ", everything())
    for stack in ("free_slots", "free_bus_locks"):
        assert re.search(rf"\bBPF_STACK\({stack}, u32, ", everything())


def test_control_has_room_for_every_entry() -> None:
    (size,) = re.findall(r"u64, controls, (\d+),", code("thread.bpf.c"))
    assert int(size) == max(schema.enumeration("control").values.values()) + 1


def test_counters_have_room_for_every_kind_and_cause() -> None:
    sizes = schema.enumeration("event_counts").values
    assert sizes["KINDS"] > max(record.number for record in schema.current().records.values())
    assert sizes["CAUSES"] > max(schema.current().enums["lost_cause"].values.values())


def test_every_macro_that_python_defines_is_used_and_the_other_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has = {source.tracepoint: source.fields | source.optional for source in SOURCES}
    has["lock:contention_begin"] = frozenset()
    monkeypatch.setattr(host_tracepoints, "fields", has.get)
    monkeypatch.setattr(kallsyms, "kvm_functions", lambda: ((1, "a"),))
    monkeypatch.setattr(kallsyms, "has_bus_lock_handler", lambda: True)
    monkeypatch.setattr(sources, "layout", lambda: dict.fromkeys(LAYOUT, 8))
    filters = Filters((1,), (2,), ((3, 4),), "c", (5, 6), "/g", "vm")
    flags = {flag for exits in EXITS for flag in assemble(filters, exits, Sizes(), probes._FUNCTIONS).flags}
    defined = {re.split(r"[=(]", flag.removeprefix("-D"))[0] for flag in flags}
    text = everything()
    own = set(re.findall(r"#define (\w+)", text))
    header = (resources.bpf() / "events.h").read_text(encoding="utf-8")
    constants = set(re.findall(r"\bSLD_[A-Z0-9_]+\b", header))
    used = set(re.findall(r"\bSLD_\w+\b", text))
    assert used - own - constants == defined
    assert own <= set(re.findall(r"\w+", re.sub(r"#define \w+", "", text)))


def test_of_the_kernels_own_structures_only_that_is_read_whose_place_is_known() -> None:
    """From BTF, or because user space has the same (siginfo, registers): so no kernel headers are needed."""
    text = everything()
    places = ["SLD_TASK_PID", "SLD_TASK_CPU", "SLD_SIGINFO_CODE", "SLD_TASK_PATCH_STATE", "SLD_TASK_SIGNAL"]
    words = set(re.findall(r"\bread_word\([\w\[\]]+, (\w+)\)|\bSLD_WORD\((SLD_\w+)\)", text))
    words = {name for pair in words for name in pair if name}
    assert {*places, *words} == {"SLD_SIGINFO_CODE", *(f"SLD_TASK_{name.upper()}" for name in LAYOUT)}
    places.append("place")  # of read_word
    assert sorted(re.findall(r"\bbpf_probe_read\w*\([^;]* \+ (\w+)\)\);", text)) == sorted(places)
    registers = re.findall(r"\bbpf_probe_read_kernel\(&rip, sizeof\(rip\), &regs->(\w+)\)", text)
    assert registers == ["ip"]
    assert text.count("probe_read") == len(places) + len(registers)
    assert "task_struct" not in text
    assert set(re.findall(r"#include <(.+)>", text)) == {"uapi/linux/ptrace.h"}


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
	printf("%zu %zu ", offsetof(struct pt_regs, rdi), offsetof(struct pt_regs, rax));
	printf("%zu", offsetof(struct pt_regs, rip));
	return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None or os.uname().machine != "x86_64", reason="needs gcc on x86")
def test_the_registers_of_a_kprobe_lie_where_the_kernel_puts_them(tmp_path: Path) -> None:
    """The first argument and the result; the kernel's own header (for user space) has the same order."""
    (tmp_path / "theirs.c").write_text(OFFSETS)
    ours = OFFSETS.replace("#include <asm/ptrace.h>", "#include <uapi/linux/ptrace.h>")
    (tmp_path / "ours.c").write_text(re.sub(r"\br(di|ax|ip)\b", r"\1", ours))
    stub = resources.bpf() / "stub" / "include" / "uapi" / "linux"
    (tmp_path / "uapi" / "linux").mkdir(parents=True)
    shutil.copy(stub / "ptrace.h", tmp_path / "uapi" / "linux")
    offsets = []
    for name in ("theirs", "ours"):
        built = subprocess.run(
            ["gcc", f"-I{tmp_path}", f"{name}.c", "-o", name], cwd=tmp_path, capture_output=True, text=True
        )
        if "asm/ptrace.h" in built.stderr:
            pytest.skip("the kernel's headers for user space are not installed")
        assert built.returncode == 0, built.stderr
        offsets.append(subprocess.run([tmp_path / name], capture_output=True, text=True, check=True).stdout)
    assert offsets[0] == offsets[1]
