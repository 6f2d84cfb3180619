"""The C text of the probes for this kernel: the files whose tracepoints and fields it has."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sldtrace import resources
from sldtrace.capture.bpf import slots
from sldtrace.capture.bpf.filters import Filters
from sldtrace.host import btf, kallsyms, kernel, msr, tracepoints
from sldtrace.recording import schema


@dataclass(frozen=True)
class Sizes:
    """Pages (4 KiB, a power of two) of each ring. The rarer the record, the smaller the ring."""

    trap: int = 256
    task: int = 16
    detection: int = 16
    exit: int = 256
    user_exit: int = 64
    signal: int = 64
    migrate: int = 16
    stall: int = 16
    lost: int = 64

    def pages(self, kind: str) -> int:
        """Pages of the ring of that kind."""
        return int(getattr(self, kind))


NONE, RECENT, COUNTS, ALL = "none", "recent", "counts", "all"
EXITS = (RECENT, ALL, COUNTS, NONE)
"""--exits: records of VM exits of threads that trapped recently, of all vCPUs; counts of all vCPUs; none."""


@dataclass(frozen=True)
class Source:
    """A file of bpf/, and the tracepoint without which it is left out.

    fields: that it needs of that tracepoint; optional: fields that it uses if the kernel has them.
    """

    file: str
    tracepoint: str | None = None
    fields: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


SOURCES = (
    Source("thread.bpf.c"),
    Source("pending.bpf.c"),
    Source("trap.bpf.c"),
    Source("signal.bpf.c", "signal:signal_generate", frozenset({"pid", "sig", "code", "group", "result"})),
    Source(
        "vcpu.bpf.c",
        "kvm:kvm_exit",
        frozenset({"exit_reason", "guest_rip", "isa", "info1"}),
        frozenset({"vcpu_id", "intr_info"}),
    ),
    Source("detection.bpf.c", "msr:write_msr"),
    Source("migrate.bpf.c", "sched:sched_migrate_task", frozenset({"pid", "orig_cpu", "dest_cpu"})),
    Source("stall.bpf.c"),
    Source("bus_lock.bpf.c"),
    Source("end.bpf.c", "sched:sched_process_exec"),
)


_MODULES = Path("/sys/module")
_PENDING = {"signal", "blocked", "pending", "jobctl", "task_works"}
_NEAR_BYTES = 128
_ISAS = {"kvm_intel": "SLD_ISA_VMX", "kvm_amd": "SLD_ISA_SVM"}


@dataclass
class Text:
    """The program: text and flags for the compiler.

    filtered: why files were left out, by file; kvm: the functions of the module kvm by offset, see
    callers.Callers.
    """

    text: str
    flags: list[str]
    filtered: dict[str, str] = field(default_factory=dict)
    kvm: list[tuple[int, str]] = field(default_factory=list)


def assemble(filters: Filters, exits: str, sizes: Sizes, kprobes: Collection[str]) -> Text:
    """The program for this kernel and these filters.

    exits: one of EXITS; kprobes: functions to be hooked by kprobe instead of fentry.
    """
    folder = resources.bpf()
    made = Text("", [f"-DSLD_{kind.upper()}_PAGES={sizes.pages(kind)}" for kind in vars(sizes)])
    made.flags += [f"-DSLD_CPUS={kernel.possible_cpus()}", f"-DSLD_SLOTS={slots.count()}", *filters.flags()]
    made.flags += [f"-DSLD_MSR_TEST_CTRL={msr.TEST_CTRL:#x}", f"-DSLD_MSR_DETECT={msr.DETECT:#x}ULL"]
    made.flags += [f"-DSLD_KPROBE_{function}" for function in kprobes]
    made.flags += {
        ALL: ["-DSLD_ALL_VCPUS", "-DSLD_ALL_EXITS"],
        COUNTS: ["-DSLD_ALL_VCPUS", "-DSLD_NO_EXITS"],
    }.get(exits, [])
    made.flags += [f"-DSLD_TASK_{name.upper()}={offset}" for name, offset in layout().items()]
    files = ["events.h"]
    for source in SOURCES:
        reason = _missing(source, made)
        if reason is None:
            files.append(source.file)
        else:
            made.filtered[source.file] = reason
    # `#line` makes the compiler's messages name the right file.
    made.text = "".join(f'#line 1 "{name}"\n{(folder / name).read_text(encoding="utf-8")}' for name in files)
    for record in schema.current().records.values():
        size = record.dtype.itemsize
        made.text += f'_Static_assert(sizeof(struct sld_{record.name}) == {size}, "{record.name}");\n'
    return made


def layout() -> dict[str, int]:
    """Offsets in a task_struct, in bytes, from the kernel's BTF: `pid`, `cpu`, those of `_pending`.

    Empty if `tgid` does not come after `pid`, as the probes read them; without `cpu` if it is in neither of
    its places: task_struct before bcf9033e5449 (5.16), then the thread_info at its beginning
    (CONFIG_THREAD_INFO_IN_TASK, which x86 always has).
    """
    found = btf.offsets("task_struct", ("pid", "tgid", "cpu", "thread_info", *_PENDING, "patch_state"))
    if "pid" not in found or found.get("tgid") != found["pid"] + 4:
        return {}
    inside = btf.offsets("thread_info", ("cpu",)) if "thread_info" in found else {}
    if "cpu" not in found and "cpu" in inside:
        found["cpu"] = found["thread_info"] + inside["cpu"]
    return {name: found[name] for name in ("pid", "cpu") if name in found} | _pending(found)


# What bpf/pending.bpf.c reads; all of it or nothing. pending: the signals of the task's sigpending;
# shared_pending: those of its process, from the signal_struct on; patch_state: only with CONFIG_LIVEPATCH.
# It reads from signal to pending at once, which needs their order in the source; a kernel with
# CONFIG_RANDSTRUCT has another.
def _pending(task: Mapping[str, int]) -> dict[str, int]:
    mask, group = btf.offsets("sigpending", ("signal",)), btf.offsets("signal_struct", ("shared_pending",))
    if not task.keys() >= _PENDING or not mask or not group:
        return {}
    pending = task["pending"] + mask["signal"]
    if not task["signal"] < task["blocked"] < pending <= task["signal"] + _NEAR_BYTES:
        return {}
    return {name: task[name] for name in (*_PENDING, "patch_state") if name in task} | {
        "pending": pending,
        "shared_pending": group["shared_pending"] + mask["signal"],
    }


# Why a file is left out, or None; adds flags for what the kernel has, and KVM's functions.
def _missing(source: Source, made: Text) -> str | None:
    flags = made.flags
    if source.file == "stall.bpf.c":
        functions = kallsyms.kvm_functions()
        if not functions:
            return "the addresses of the module kvm cannot be read"
        made.kvm = [(address - functions[0][0], name) for address, name in functions]
        flags += [
            f"-DSLD_KVM_BEGIN={functions[0][0]:#x}ULL",
            f"-DSLD_KVM_END={functions[-1][0] + 4096:#x}ULL",
        ]
        if tracepoints.fields("lock:contention_begin") is not None:
            flags.append("-DSLD_HAS_contention")
    if source.file == "bus_lock.bpf.c":
        if not kallsyms.has_bus_lock_handler():
            return "this kernel does not have it"
        flags.append("-DSLD_HAS_bus_lock")
    if source.tracepoint is None:
        return None
    found = tracepoints.fields(source.tracepoint)
    if found is None:
        return "this kernel does not have it now"
    if lacking := source.fields - found:
        return f"here {source.tracepoint} has no field {', '.join(sorted(lacking))}"
    flags += [f"-DSLD_HAS_{name}" for name in sorted(source.optional & found)]
    if source.file == "vcpu.bpf.c":
        # A host has one of the two; if neither is loaded, each exit reads its own field, which costs a
        # little.
        isa = next((isa for module, isa in _ISAS.items() if (_MODULES / module).is_dir()), "(args)->isa")
        flags += ["-DSLD_HAS_kvm", f"-DSLD_ISA(args)={isa}"]
    return None
