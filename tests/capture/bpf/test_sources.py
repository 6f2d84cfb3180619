"""The text of the probes for one kernel or another: which files, which flags, and why a file is left out."""

import re
from pathlib import Path

import pytest

from lab.kernel import KERNELS
from sldtrace import resources
from sldtrace.capture.bpf import sources
from sldtrace.capture.bpf.filters import Filters
from sldtrace.capture.bpf.program import RINGS
from sldtrace.capture.bpf.sources import EXITS, SOURCES, Sizes, Text, assemble
from sldtrace.host import btf, kallsyms, kernel, tracepoints
from sldtrace.recording import schema

TRACEFS = Path(__file__).parents[2] / "host" / "data" / "tracefs"
FIELDS = {source.tracepoint: source.fields | source.optional for source in SOURCES if source.tracepoint}
FIELDS["lock:contention_begin"] = frozenset({"lock_addr", "flags"})
KVM = ((0xFFFFFFFFC0A01000, "kvm_early"), (0xFFFFFFFFC0A02000, "kvm_late"))
LAYOUT = {"task_struct": {"pid": 1264, "tgid": 1268, "thread_info": 16}, "thread_info": {"cpu": 20}}
CPUS = 3


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, frozenset[str]]:
    """A kernel with everything; a test takes away what it likes."""
    known = {name: fields for name, fields in FIELDS.items() if name}
    monkeypatch.setattr(tracepoints, "fields", known.get)
    monkeypatch.setattr(kallsyms, "kvm_functions", lambda: KVM)
    monkeypatch.setattr(kallsyms, "has_bus_lock_handler", lambda: True)
    monkeypatch.setattr(kernel, "possible_cpus", lambda: CPUS)
    monkeypatch.setattr(btf, "offsets", lambda name, members: dict(LAYOUT.get(name, {})))
    return known


def text(exits: str = "recent", sizes: Sizes | None = None, kprobes: tuple[str, ...] = ()) -> Text:
    return assemble(Filters(), exits, sizes or Sizes(), kprobes)


def files(made: Text) -> list[str]:
    return re.findall(r'^#line 1 "(.+)"$', made.text, re.MULTILINE)


def test_with_everything_there_nothing_is_filtered() -> None:
    made = text()
    assert files(made) == ["events.h", *[source.file for source in SOURCES]]
    assert made.filtered == {}
    for name in files(made):
        assert f'#line 1 "{name}"\n' + (resources.bpf() / name).read_text(encoding="utf-8") in made.text


@pytest.mark.parametrize("source", [each for each in SOURCES if each.tracepoint], ids=lambda each: each.file)
def test_a_file_without_its_tracepoint_is_filtered(
    source: sources.Source, found: dict[str, frozenset[str]]
) -> None:
    del found[str(source.tracepoint)]
    made = text()
    assert made.filtered == {source.file: "this kernel does not have it now"}
    assert files(made) == ["events.h", *[each.file for each in SOURCES if each != source]]


@pytest.mark.parametrize(
    ("source", "name"),
    [(source, name) for source in SOURCES for name in sorted(source.fields)],
    ids=lambda each: each if isinstance(each, str) else each.file,
)
def test_a_file_without_a_field_that_it_reads_is_filtered(
    source: sources.Source, name: str, found: dict[str, frozenset[str]]
) -> None:
    found[str(source.tracepoint)] -= {name}
    made = text()
    assert made.filtered == {source.file: f"here {source.tracepoint} has no field {name}"}
    assert source.file not in files(made)


@pytest.mark.parametrize("name", ["vcpu_id", "intr_info"])
def test_a_field_that_is_younger_is_done_without(name: str, found: dict[str, frozenset[str]]) -> None:
    found["kvm:kvm_exit"] -= {name}
    made = text()
    assert made.filtered == {}
    has = {flag for flag in made.flags if flag.startswith("-DSLD_HAS_")}
    every = ("bus_lock", "kvm", "contention", "vcpu_id", "intr_info")
    assert has == {f"-DSLD_HAS_{each}" for each in every if each != name}


def test_every_missing_field_is_named(found: dict[str, frozenset[str]]) -> None:
    found["kvm:kvm_exit"] = frozenset({"exit_reason", "info1"})
    assert text().filtered == {"vcpu.bpf.c": "here kvm:kvm_exit has no field guest_rip, isa"}


def test_what_ends_with_a_thread_does_not_ask_for_a_vcpu_that_was_filtered(
    found: dict[str, frozenset[str]],
) -> None:
    del found["kvm:kvm_exit"]
    assert "-DSLD_HAS_kvm" not in text().flags


def test_without_the_addresses_of_kvm_there_are_no_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kallsyms, "kvm_functions", tuple)
    made = text()
    assert made.filtered == {"stall.bpf.c": "the addresses of the module kvm cannot be read"}
    assert not [flag for flag in made.flags if "KVM_BEGIN" in flag or "contention" in flag]


def test_bus_locks_need_the_function_that_handles_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "-DSLD_HAS_bus_lock" in text().flags
    monkeypatch.setattr(kallsyms, "has_bus_lock_handler", lambda: False)
    made = text()
    assert made.filtered == {"bus_lock.bpf.c": "this kernel does not have it"}
    assert "-DSLD_HAS_bus_lock" not in made.flags


def test_the_bounds_of_kvm_hold_its_last_function() -> None:
    flags = dict(flag.removeprefix("-D").split("=") for flag in text().flags if "SLD_KVM" in flag)
    begin, end = (int(flags[name].removesuffix("ULL"), 16) for name in ("SLD_KVM_BEGIN", "SLD_KVM_END"))
    assert begin == KVM[0][0]
    assert text().kvm == [(address - begin, name) for address, name in KVM]
    assert end > KVM[-1][0]


def test_a_kernel_without_contention_tracepoints(found: dict[str, frozenset[str]]) -> None:
    """They came with 5.19."""
    del found["lock:contention_begin"]
    made = text()
    assert "stall.bpf.c" in files(made)
    assert "-DSLD_HAS_contention" not in made.flags


@pytest.mark.parametrize("release", KERNELS)
def test_nothing_is_missing_on_the_kernels_of_the_lab(
    release: str, monkeypatch: pytest.MonkeyPatch, found: dict[str, frozenset[str]]
) -> None:
    def fields(name: str) -> frozenset[str] | None:
        real = TRACEFS / release / "events" / name.replace(":", "/") / "format"
        return tracepoints.parse_fields(real.read_text()) if real.exists() else found[name]

    monkeypatch.setattr(tracepoints, "fields", fields)
    made = text()
    assert made.filtered == {}
    assert {"-DSLD_HAS_vcpu_id", "-DSLD_HAS_intr_info"} <= set(made.flags)


@pytest.mark.parametrize(
    ("exits", "flags"),
    [
        ("recent", set()),
        ("none", set()),
        ("counts", {"-DSLD_ALL_VCPUS"}),
        ("all", {"-DSLD_ALL_VCPUS", "-DSLD_ALL_EXITS"}),
    ],
)
def test_whose_exits(exits: str, flags: set[str]) -> None:
    assert exits in EXITS
    assert {flag for flag in text(exits).flags if flag.startswith("-DSLD_ALL")} == flags


def test_sizes_cpus_and_kprobes_are_flags() -> None:
    made = text(sizes=Sizes(1, 2, 4, 8, 16, 32, 64, 128), kprobes=("split_lock_warn",))
    assert set(made.flags) >= {
        "-DSLD_TRAP_PAGES=1",
        "-DSLD_TASK_PAGES=2",
        "-DSLD_STALL_PAGES=128",
        "-DSLD_KPROBE_split_lock_warn",
        f"-DSLD_CPUS={CPUS}",
    }
    assert len(made.flags) == len(set(made.flags))


@pytest.mark.parametrize(
    ("task", "info", "found"),
    [
        (LAYOUT["task_struct"], LAYOUT["thread_info"], {"pid": 1264, "cpu": 36}),
        ({"pid": 8, "tgid": 12, "cpu": 4, "thread_info": 0}, {}, {"pid": 8, "cpu": 4}),
        ({"pid": 8, "tgid": 12, "thread_info": 0}, {}, {"pid": 8}),
        ({"pid": 8, "tgid": 12}, {"cpu": 20}, {"pid": 8}),
        ({"pid": 8, "cpu": 4}, {}, {}),
        ({"pid": 8, "tgid": 16, "cpu": 4}, {}, {}),
        ({}, {}, {}),
    ],
    ids=["since 5.16", "before", "no CPU", "thread_info is elsewhere", "no TGID", "TGID elsewhere", "no BTF"],
)
def test_the_layout_of_a_task(
    task: dict[str, int], info: dict[str, int], found: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        btf, "offsets", lambda name, _: dict({"task_struct": task, "thread_info": info}.get(name, {}))
    )
    assert sources.layout() == found
    assert {flag for flag in text().flags if flag.startswith("-DSLD_TASK_PID")} == {
        f"-DSLD_TASK_PID={at}" for at in [found.get("pid")] if at
    }


PENDING = {"signal": 3000, "blocked": 3016, "pending": 3040, "jobctl": 1200, "task_works": 3200}


@pytest.mark.parametrize(
    ("lacks", "elsewhere"),
    [
        *((lacks, {}) for lacks in (None, "blocked", "sigpending", "signal_struct", "patch_state")),
        ("order", {"blocked": 2992}),
        ("order", {"pending": 4096}),
    ],
)
def test_what_is_pending_is_read_all_or_not_at_all(
    lacks: str | None, elsewhere: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only patch_state may be missing: a kernel without live patches."""
    task = {"pid": 1264, "tgid": 1268, **PENDING, "patch_state": 3300, **elsewhere}
    known = {"task_struct": task, "sigpending": {"signal": 16}, "signal_struct": {"shared_pending": 64}}
    if lacks and not elsewhere:
        del (task if lacks in task else known)[lacks]
    monkeypatch.setattr(btf, "offsets", lambda name, _: known.get(name, {}))
    found = sources.layout()
    if lacks in (None, "patch_state"):
        # The signals come after the list head of their sigpending.
        more = {} if lacks else {"patch_state": 3300}
        assert found == {"pid": 1264, **PENDING, "pending": 3056, "shared_pending": 80, **more}
        assert "-DSLD_TASK_SHARED_PENDING=80" in text().flags
    else:
        assert found == {"pid": 1264}


def test_filters_are_flags() -> None:
    filters = Filters(tgids=(77,), vm="x")
    assert set(filters.flags()) <= set(assemble(filters, "recent", Sizes(), ()).flags)


def test_every_ring_has_a_size_that_is_a_power_of_two() -> None:
    assert set(vars(Sizes())) == set(RINGS)
    for kind in RINGS:
        pages = Sizes().pages(kind)
        assert pages > 0
        assert pages & (pages - 1) == 0


def test_the_compiler_checks_the_size_of_every_record() -> None:
    checked = dict(re.findall(r"^_Static_assert\(sizeof\(struct sld_(\w+)\) == (\d+), ", text().text, re.M))
    assert checked == {record.name: str(record.size) for record in schema.current().records.values()}
