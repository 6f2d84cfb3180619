"""What is compiled on which kernel, and how the maps of the program are reached; bcc is played by a fake."""

import os
import re
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from sldtrace import resources
from sldtrace.capture import bcc, program
from sldtrace.capture.program import Program, Sizes, source
from sldtrace.errors import SldtraceError
from sldtrace.host import kernel
from sldtrace.recording import schema

TRACEPOINTS = {"signal:signal_generate", "kvm:kvm_exit", "msr:write_msr"}
CPUS = 3
ALWAYS = ["events.h", "thread.bpf.c", "trap.bpf.c"]


def kernel_with(monkeypatch: pytest.MonkeyPatch, tracepoints: set[str]) -> None:
    monkeypatch.setattr(kernel, "has_tracepoint", lambda category, name: f"{category}:{name}" in tracepoints)
    monkeypatch.setattr(kernel, "possible_cpus", lambda: CPUS)


def files(text: str) -> list[str]:
    return re.findall(r'^#line 1 "(.+)"$', text, re.MULTILINE)


# The source


@pytest.mark.parametrize(
    ("lacks", "left_out"),
    [
        (set(), set()),
        ({"kvm:kvm_exit"}, {"exits.bpf.c"}),
        ({"msr:write_msr"}, {"detection.bpf.c"}),
        ({"signal:signal_generate"}, {"signal.bpf.c"}),
        (TRACEPOINTS, {"exits.bpf.c", "detection.bpf.c", "signal.bpf.c"}),
    ],
)
def test_files_whose_tracepoint_is_missing_are_left_out(
    lacks: set[str], left_out: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_with(monkeypatch, TRACEPOINTS - lacks)
    text, _ = source(None, Sizes(), ())
    parts = files(text)
    assert parts[:3] == ALWAYS
    everything = {path.name for path in resources.bpf().glob("*.bpf.c")} | {"events.h"}
    assert set(parts) == everything - left_out
    assert len(parts) == len(set(parts))
    for part in parts:
        assert (resources.bpf() / part).read_text(encoding="utf-8") in text


def test_the_compiler_checks_the_size_of_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_with(monkeypatch, TRACEPOINTS)
    text, _ = source(None, Sizes(), ())
    checked = dict(re.findall(r"^_Static_assert\(sizeof\(struct sld_(\w+)\) == (\d+), ", text, re.MULTILINE))
    assert checked == {record.name: str(record.size) for record in schema.current().records.values()}


@pytest.mark.parametrize(
    ("tgid", "sizes", "kprobes", "flags"),
    [
        (
            None,
            Sizes(),
            [],
            {
                "-DSLD_TRAP_PAGES=256",
                "-DSLD_TASK_PAGES=16",
                "-DSLD_DETECTION_PAGES=16",
                f"-DSLD_CPUS={CPUS}",
            },
        ),
        (
            77,
            Sizes(1, 2, 4),
            ["split_lock_warn"],
            {
                "-DSLD_TRAP_PAGES=1",
                "-DSLD_TASK_PAGES=2",
                "-DSLD_DETECTION_PAGES=4",
                "-DSLD_KPROBE_split_lock_warn",
                "-DSLD_ONLY_TGID=77",
                f"-DSLD_CPUS={CPUS}",
            },
        ),
    ],
)
def test_flags(
    tgid: int | None,
    sizes: Sizes,
    kprobes: list[str],
    flags: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel_with(monkeypatch, TRACEPOINTS)
    _, found = source(tgid, sizes, kprobes)
    assert set(found) == flags
    assert len(found) == len(flags)


def test_pages_are_powers_of_two() -> None:
    for kind in program.RINGS:
        pages = Sizes().pages(kind)
        assert pages > 0
        assert pages & (pages - 1) == 0


# The program


class FakeTable:
    """A map that can be mapped: its memory is that of a file."""

    def __init__(self, pages: int = 1) -> None:
        self.map_fd = os.memfd_create("map")
        os.ftruncate(self.map_fd, pages * 4096)

    def write(self, index: int, value: int) -> None:
        os.pwrite(self.map_fd, struct.pack("<Q", value), 8 * index)

    def read(self, index: int) -> int:
        return int(struct.unpack("<Q", os.pread(self.map_fd, 8, 8 * index))[0])


class FakeLib:
    """libbcc: the functions of the module."""

    functions = (b"kfunc__split_lock_warn", b"tracepoint__kvm__kvm_exit")

    def bpf_num_functions(self, module: str) -> int:
        assert module == "module"
        return len(self.functions)

    def bpf_function_name(self, module: str, index: int) -> bytes:
        return self.functions[index]


class FakeBpf:
    """bcc.BPF: compiles anything, unless a test says otherwise."""

    TRACEPOINT = 5
    made: "FakeBpf"
    says = b""
    fails: Exception | None = None

    def __init__(self, text: bytes, cflags: list[str]) -> None:
        os.write(2, self.says)
        if self.fails:
            raise self.fails
        self.text, self.cflags, self.module = text, cflags, "module"
        self.tables = {"control": FakeTable(), "tallies": FakeTable(), "traps": FakeTable()}
        self.funcs: dict[bytes, SimpleNamespace] = {}
        self.loaded: list[tuple[bytes, int]] = []
        self.cleaned = 0
        self._trace_autoload()
        FakeBpf.made = self

    def _trace_autoload(self) -> None:
        raise AssertionError("bcc would attach everything by itself")

    def __getitem__(self, name: str) -> FakeTable:
        return self.tables[name]

    def load_func(self, name: bytes, kind: int) -> None:
        self.loaded.append((name, kind))

    def cleanup(self) -> None:
        os.write(2, b"noise")
        self.cleaned += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeBpf]:
    kernel_with(monkeypatch, TRACEPOINTS)
    monkeypatch.setattr(FakeBpf, "says", b"")
    monkeypatch.setattr(FakeBpf, "fails", None)
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "unset")
    monkeypatch.setattr(bcc, "load", lambda: SimpleNamespace(BPF=FakeBpf, lib=FakeLib()))
    return FakeBpf


def test_compiles_the_source_with_its_flags_and_attaches_nothing(fake: type[FakeBpf]) -> None:
    made = Program(77, Sizes(1, 2, 4), ["split_lock_warn"])
    text, flags = source(77, Sizes(1, 2, 4), ["split_lock_warn"])
    assert fake.made.text.decode() == text
    assert fake.made.cflags[:-1] == flags
    assert made.functions == {"kfunc__split_lock_warn", "tracepoint__kvm__kvm_exit"}


def test_our_headers_stand_in_for_the_kernels(fake: type[FakeBpf]) -> None:
    Program(None, Sizes(), ())
    folder = os.environ["BCC_KERNEL_SOURCE"]
    assert os.path.isdir(os.path.join(folder, "include", "linux"))


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (
            b"warning: x\ntrap.bpf.c:5:1: error: unknown type\n2 errors generated.\n",
            "trap.bpf.c:5:1: error: unk",
        ),
        (b"  something else\nmore\n", "something else"),
        (b"", "Failed to compile BPF module"),
    ],
)
def test_what_does_not_compile_is_one_line(
    says: bytes, reason: str, fake: type[FakeBpf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBpf, "says", says)
    monkeypatch.setattr(FakeBpf, "fails", Exception("Failed to compile BPF module <text>"))
    with pytest.raises(SldtraceError) as caught:
        Program(None, Sizes(), ())
    assert str(caught.value).startswith(f"the probes do not compile here: {reason}")
    assert "\n" not in str(caught.value)


def test_counters_have_a_place_for_each_kind_cause_and_cpu(fake: type[FakeBpf]) -> None:
    made = Program(None, Sizes(), ())
    sizes = schema.enumeration("tallies").values
    kinds, causes = sizes["KINDS"], sizes["CAUSES"]
    places = [(0, 0, 0), (1, 3, 2), (kinds - 1, causes - 1, 1), (2, 1, 0)]
    for number, (kind, cause, cpu) in enumerate(places, 1):
        # As bpf/thread.bpf.c computes it.
        fake.made.tables["tallies"].write((cpu * kinds + kind) * causes + cause, number << 40)
    found = made.tallies()
    assert found.shape == (kinds, causes, CPUS)
    assert found.dtype == np.uint64
    assert [int(found[place]) >> 40 for place in places] == [1, 2, 3, 4]
    assert np.count_nonzero(found) == len(places)
    fake.made.tables["tallies"].write(0, 99)
    assert found[0, 0, 0] == 1 << 40
    assert made.tallies()[0, 0, 0] == 99


def test_the_size_of_the_counters_is_that_of_the_probes(fake: type[FakeBpf]) -> None:
    """The last counter of the last CPU lies within what is mapped, however many CPUs."""
    Program(None, Sizes(), ())
    assert f"-DSLD_CPUS={CPUS}" in fake.made.cflags


def test_tells_the_probes_by_the_numbers_of_events_h(fake: type[FakeBpf]) -> None:
    made = Program(None, Sizes(), ())
    made.tell("EXITS", (1 << 63) + 5)
    made.tell("OPEN", 1)
    numbers = schema.enumeration("control").values
    control = fake.made.tables["control"]
    assert (control.read(numbers["EXITS"]), control.read(numbers["OPEN"])) == ((1 << 63) + 5, 1)
    made.tell("OPEN", 0)
    assert control.read(numbers["OPEN"]) == 0


def test_what_was_skipped_is_told_by_function(fake: type[FakeBpf], monkeypatch: pytest.MonkeyPatch) -> None:
    made = Program(None, Sizes(), ())
    fake.made.funcs = {b"kprobe__f": SimpleNamespace(fd=7), b"kretprobe__f": SimpleNamespace(fd=8)}
    monkeypatch.setattr(program.kinfo, "recursion_misses", lambda library, fd: fd * 100)
    assert made.skipped() == {"kprobe__f": 700, "kretprobe__f": 800}


def test_a_ring_that_was_left_out_is_none(fake: type[FakeBpf], monkeypatch: pytest.MonkeyPatch) -> None:
    made = Program(None, Sizes(trap=8), ())
    assert made.ring("detection") is None
    opened = []
    monkeypatch.setattr(program, "Ring", lambda *arguments: opened.append(arguments) or "ring")
    assert made.ring("trap") == "ring"
    assert opened == [(fake.made.tables["traps"].map_fd, 8 * 4096, schema.current().records["trap"].dtype)]


def test_loading_and_closing(fake: type[FakeBpf], capfd: pytest.CaptureFixture[str]) -> None:
    made = Program(None, Sizes(), ())
    made.load("tracepoint__kvm__kvm_exit")
    assert fake.made.loaded == [(b"tracepoint__kvm__kvm_exit", FakeBpf.TRACEPOINT)]
    made.close()
    assert fake.made.cleaned == 1
    assert capfd.readouterr().err == ""


def test_without_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    monkeypatch.setattr(bcc, "_DISTRIBUTION_PATHS", ())
    with pytest.raises(SldtraceError, match="the Python module bcc cannot be used"):
        Program(None, Sizes(), ())
