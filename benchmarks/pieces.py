"""What the pieces of a program on every VM exit cost: instructions added to an exit-entry pair, in the lab.

One bcc module holds a program for each piece; each is attached alone while a guest loops on cpuid. A piece is
measured in a raw tracepoint on kvm_exit, less the empty program there.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.observers.inside import run_guest
from benchmarks.observers.table import GUESTS, INSTRUCTIONS_PER_SECOND
from lab import limits, machine
from lab.failures import LabError
from lab.job import Job
from lab.kernel import DEFAULT
from lab.progress import Progress
from sldtrace import resources
from sldtrace.reporters.tables import table

_HEAD = """
struct raw_args { u64 args[4]; };
struct fields { char before[REASON]; u32 exit_reason; };
struct state { u64 number; };
BPF_HASH(by_tid, u32, u64, 4096);
BPF_TABLE("lru_hash", u32, u64, recent, 4096);
BPF_ARRAY(numbers, u64, 256);
BPF_PERCPU_ARRAY(own, u64, 1);
BPF_TASK_STORAGE(states, struct state);
#define TID ((u32)bpf_get_current_pid_tgid())
int perf_exit(struct fields *args) { return 0; }
int perf_entry(struct fields *args) { return 0; }
int raw_exit(struct raw_args *ctx) { return 0; }
int raw_entry(struct raw_args *ctx) { return 0; }
"""


# As text: bcc allows no access to a map in a macro of C.
def _count(table: str, key: str, otherwise: str = "") -> str:
    return f"u32 k = {key}; u64 *v = {table}.lookup(&k), z = 0; if (v) (*v)++; {otherwise}"


_MAKE = "else {}.update(&k, &z);"
# Name: (what the program gets, its body).
_PIECES = {
    "empty": ("struct raw_args *ctx", ""),
    "bpf_ktime_get_ns": ("struct raw_args *ctx", "bpf_ktime_get_ns();"),
    "bpf_get_current_pid_tgid": ("struct raw_args *ctx", "bpf_get_current_pid_tgid();"),
    "bpf_get_smp_processor_id": ("struct raw_args *ctx", "bpf_get_smp_processor_id();"),
    "array, look-up and add": ("struct raw_args *ctx", _count("numbers", "0")),
    "per-CPU array, look-up and add": ("struct raw_args *ctx", _count("own", "0")),
    "hash by TID, found": ("struct raw_args *ctx", _count("by_tid", "TID", _MAKE.format("by_tid"))),
    "hash by TID, not found": ("struct raw_args *ctx", _count("by_tid", "TID | 1 << 30")),
    "hash by TID, update": ("struct raw_args *ctx", "u32 k = TID; u64 z = k; by_tid.update(&k, &z);"),
    "LRU hash by TID, found": ("struct raw_args *ctx", _count("recent", "TID", _MAKE.format("recent"))),
    "task storage": (
        "struct raw_args *ctx",
        "struct state *s = states.task_storage_get((void *)bpf_get_current_task_btf(), 0,"
        " BPF_LOCAL_STORAGE_GET_F_CREATE); if (s) s->number++;",
    ),
    "bpf_probe_read_kernel, 4 bytes, and array": (
        "struct raw_args *ctx",
        "u32 r = 0; bpf_probe_read_kernel(&r, 4, (void *)ctx->args[0]);" + _count("numbers", "r & 255"),
    ),
    "perf kvm_exit, exit_reason into an array": (
        "struct fields *args",
        _count("numbers", "args->exit_reason & 255"),
    ),
}
_EMPTY = {
    "perf kvm_exit": ("perf", None),
    "perf kvm_entry": (None, "perf"),
    "perf kvm_exit, perf kvm_entry": ("perf", "perf"),
    "perf kvm_exit, raw kvm_entry": ("perf", "raw"),
    "raw kvm_exit, raw kvm_entry": ("raw", "raw"),
}
_GUEST = next(one for one in GUESTS if one.image == "cpuid-loop")


def main() -> int:
    """Boots the lab and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernel", default=DEFAULT, help=f"of the lab (default {DEFAULT})")
    limits.add_options(parser)
    parser.add_argument("--inside", metavar="RESULT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        Path(options.inside).write_text(json.dumps(_measure()))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = ["python3", "benchmarks/pieces.py", "--inside", "/tmp/result.json"]
        job = Job(
            command,
            kernel=options.kernel,
            fetch=["/tmp/result.json"],
            out=Path(folder),
            **limits.chosen(options),
        )
        try:
            done = machine.run(job, Progress())
        except LabError as error:
            print(f"lab: {error}", file=sys.stderr)
            return error.exit_status
        if done.status:
            sys.stderr.buffer.write(done.output)
            return done.status
        print(_text(json.loads(done.files["/tmp/result.json"].read_text())))
    return 0


def _text(found: Mapping[str, Any]) -> str:
    alone, empty = found["alone"], found["pieces"]["empty"]
    rows = [
        {"attached, empty": name, "added": f"{pair - alone:,.0f}"} for name, pair in found["empty"].items()
    ]
    pieces = [
        {"piece": name, "added": f"{pair - (alone if name.startswith('perf') else empty):,.0f}"}
        for name, pair in found["pieces"].items()
        if name != "empty"
    ]
    head = f"Linux {found['kernel']}: instructions added to an exit-entry pair of {alone:,.0f}"
    return "\n\n".join([head, table(rows, numbers=True), table(pieces, numbers=True)])


# From here on: in the machine.
def _measure() -> dict[str, Any]:
    os.environ["BCC_KERNEL_SOURCE"] = str(resources.bpf() / "stub")
    from bcc import BPF

    class Module(BPF):  # type: ignore[misc]
        # bcc would attach everything at once.
        def _trace_autoload(self) -> None:
            pass

    form = Path("/sys/kernel/tracing/events/kvm/kvm_exit/format").read_text()
    reason = re.search(r"exit_reason;\s*offset:(\d+)", form)
    if not reason:
        raise SystemExit("kvm_exit has no exit_reason here")
    names = {name: f"piece_{number}" for number, name in enumerate(_PIECES)}
    text = _HEAD
    for name, (arguments, body) in _PIECES.items():
        text += f"int {names[name]}({arguments}) {{ {body} return 0; }}\n"
    module = Module(text=text.encode(), cflags=["-Wno-everything", f"-DREASON={reason[1]}"])

    def pair(**programs: str) -> float:
        for how, function in programs.items():
            kind, _, event = how.partition("_")
            if kind == "perf":
                module.attach_tracepoint(f"kvm:kvm_{event}".encode(), fn_name=function.encode())
            else:
                module.attach_raw_tracepoint(f"kvm_{event}".encode(), fn_name=function.encode())
        counted = run_guest(_GUEST)
        for how in programs:
            kind, _, event = how.partition("_")
            if kind == "perf":
                module.detach_tracepoint(f"kvm:kvm_{event}".encode())
            else:
                module.detach_raw_tracepoint(f"kvm_{event}".encode())
        return INSTRUCTIONS_PER_SECOND * int(counted["ran_ns"]) / 1e9 / int(counted["loops"])

    pair()  # the first guest of a boot makes the kernel do things once
    empty = {}
    for name, (at_exit, at_entry) in _EMPTY.items():
        given = {f"{at_exit}_exit": f"{at_exit}_exit"} if at_exit else {}
        given |= {f"{at_entry}_entry": f"{at_entry}_entry"} if at_entry else {}
        empty[name] = pair(**given)
    pieces = {
        name: pair(**{"perf_exit" if name.startswith("perf") else "raw_exit": names[name]})
        for name in _PIECES
    }
    return {"kernel": os.uname().release, "alone": pair(), "empty": empty, "pieces": pieces}


if __name__ == "__main__":
    sys.exit(main())
