"""The recordings whose reports are kept in data/: of the emulated host, of the model, and made up.

Those of the emulated host are kept in recordings/ (from_lab.py makes them), the others made anew each time.

usage: make goldens: writes the reports again. Read the difference before it is committed: users will see it.
"""

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sldtrace.dataset import trace as traces
from sldtrace.dataset.trace import Trace
from sldtrace.recording.retention import RetentionOptions
from sldtrace.recording.writer import Writer
from sldtrace.reporters.document import Report
from tests.analyzers.simulated import simulated
from tests.analyzers.synthetic import (
    COMPLETED,
    EARLY,
    FLAGS,
    GUEST,
    MS,
    SIGIO,
    START_NS,
    VCPU,
    VMM,
    array,
    closing,
    completed,
    counted,
    early,
    exited,
    facts,
    loop,
    not_penalized,
    signalled,
    step,
    task,
    trace,
    waited,
    window,
)
from tests.reporters import rendering

DATA = Path(__file__).parent / "data"
RECORDINGS = Path(__file__).parent / "recordings"
WIDTH = 80


def livelock(folder: Path) -> Trace:
    """A vCPU whose penalties a 1 ms timer ends early, beside one that completes them."""
    rows = loop(2000, period_ns=MS + 13)
    rows += [completed(index * 40 * MS, tid=VCPU + 1, vcpu=1, start_cpu=1) for index in range(50)]
    names = {VMM: b"qemu-system-x86", VCPU: b"CPU 0/KVM", VCPU + 1: b"CPU 1/KVM"}
    vm = {"name": "web01", "uuid": "4dea22b3-1d52-4bdb-a2a4-0d6cc6c0d1f1", "id": "3"}
    who = {"comm": "qemu-system-x86", "vmm": "qemu", "vm": vm}
    tasks = [task(tid, comm) for tid, comm in names.items()]
    return trace(folder, rows, tasks=tasks, updates=[{"processes": {str(VMM): who}}])


def bystanders(folder: Path) -> Trace:
    """Split locks of three kinds of thread, and no thread that is held up."""
    rows = [completed(index * 100 * MS) for index in range(60)]
    rows += [early(index * 700 * MS + 37 * MS, 7 * MS, 2, guest_ns=600 * MS) for index in range(9)]
    rows += [not_penalized(index * 9 * MS, tid=402, tgid=400, vcpu=3) for index in range(100)]
    rows += [completed(index * 900 * MS, tid=500, tgid=500, vcpu=-1, flags=COMPLETED) for index in range(3)]
    names = [task(VMM, b"qemu-system-x86"), task(500, b"legacy-app", 500)]
    who = {"comm": "cloud-hyperviso", "vmm": "cloud-hypervisor", "vm": {"id": "/run/web02.sock"}}
    return trace(folder, rows, tasks=names, updates=[{"processes": {"400": who}}])


def losses(folder: Path) -> Trace:
    """A loop held up for a while; records lost, exits and MSR not watched, the end of the file missing."""
    blind = EARLY & ~FLAGS["EXITS_WATCHED"] & ~FLAGS["MSR_WATCHED"] | GUEST | FLAGS["SIGNAL_GROUP"]
    sent = {"signal": SIGIO, "signal_code": 0, "sender_tgid": 900, "sender_tid": 901}
    rows = loop(6, period_ns=5 * MS, flags=blind, vcpu=-1, **sent)
    rows += [completed(31 * MS, vcpu=-1, flags=blind | FLAGS["SEMAPHORE"])]
    rows += [*loop(8, 45 * MS, period_ns=3 * MS, vcpu=-1, flags=blind, **sent)]
    lost = [
        {"ns": START_NS + 40 * MS, "cpu": cpu, "kind": kind, "cause": cause, "count": count}
        for cpu, kind, cause, count in ((0, 1, 1, 1200), (1, 1, 3, 1), (1, 3, 1, 7))
    ]
    opening = facts(kernel={"release": "6.1.0-44-cloud-amd64"}, split_lock={"mitigate": None}, cpu=None)
    opening["probes"] = [
        {"name": "kvm:kvm_exit", "backend": "", "detail": "this kernel does not have it now"}
    ]
    return trace(folder, rows, opening=opening, lost=lost, ended=closing(0), close=False)


def trimmed(folder: Path) -> Trace:
    """The last 3 s of a loop that lasted longer: what came before was discarded."""
    now = START_NS
    path = folder / "kept.sld"
    path.unlink(missing_ok=True)
    retention = RetentionOptions(time_ns=3_000 * MS, bytes=100 << 20)
    with Writer(
        path, facts(), recording_id=1, compress=False, retention=retention, clock=lambda: now
    ) as writer:
        writer.append("task", array("task", [task(VMM, b"qemu-system-x86"), task(VCPU, b"CPU 0/KVM")]))
        for second in range(8):
            writer.append("trap", array("trap", loop(1000, second * 1000 * MS)))
            now += 1_000 * MS
            writer.flush()
        writer.close(closing(8000))
    return traces.load(path)


def detail(folder: Path) -> Trace:
    """A loop with all that is recorded beside the traps, less of it for a while, and what that costs."""
    second = 1_000 * MS
    rows = loop(2000, second)
    tasks = [task(VMM, b"qemu-system-x86"), task(VCPU, b"CPU 0/KVM"), task(300, b"memory\x1b[31m")]
    counts = [
        counted(0, 1999, {20: 1999}, vector=17),
        counted(1, 400, {11: 390, 14: 10}),
        counted(10, 31, {10: 30, 31: 1}),
        *(counted(reason, 2, {9: 2}) for reason in (12, 30, 48, 99)),
        counted(0xFFFFFFFF, 1, {}),
        *(counted(12, 50 + index, {25: 50 + index}, tid=300 + index, vcpu=index) for index in range(1, 4)),
    ]
    more = {
        "counts": counts,
        "exit": [{"ns": rows[0]["start_ns"], "isa": 1, "tgid": VMM, "tid": VCPU}],
        "user_exit": [
            {"ns": START_NS + index * MS, "tgid": VMM, "tid": VCPU, "reason": 10, "error": -4 * (index < 40)}
            for index in range(50)
        ],
        "migrate": [
            {"ns": START_NS + second + index * MS, "tgid": VMM, "tid": VCPU, "from_cpu": index % 2}
            | {"to_cpu": (index + 1) % 2, "by_tgid": VMM, "by_tid": 300 if index % 3 else 0}
            for index in range(10)
        ],
        "stall": [
            {"ns": START_NS + second + index * 20 * MS, "end_ns": START_NS + second + index * 27 * MS}
            | {"tgid": VMM, "tid": 300, "what": 1 + index % 2, "caller": 0x1B3A + index % 2}
            | {"penalized_tid": VCPU, "result": -4 * (index == 4)}
            for index in range(1, 6)
        ],
        "detail": [
            step(0, "TRAPS", "TRAPS", "START"),
            step(second, "EXITS", "TRAPS", "TRAP"),
            step(2 * second, "COUNTS", "EXITS", "CPU", 13_100, 10_000),
            step(2 * second + 400 * MS, "TRAPS", "COUNTS", "EVENTS", 48_000, 20_000),
            step(2 * second + 900 * MS, "COUNTS", "TRAPS", "RECOVERED", 300, 20_000),
            step(4 * second, "EXITS", "COUNTS", "RECOVERED", 300, 20_000),
            step(9 * second, "TRAPS", "EXITS", "IDLE", 30 * second, 30 * second),
        ],
    }
    lost = [{"ns": START_NS + second, "cpu": cpu, "kind": 5, "cause": 1, "count": 100} for cpu in range(3)]
    cost = {"elapsed_ns": 10 * second, "recorder_cpu_ns": 52 * MS, "probes_ns": 31 * MS}
    ended = closing(2005) | {
        "seen": {"trap": 2005, "exit": 302, "user_exit": 50, "stall": 5},
        "unfinished": {"trap": 2, "exit": 1},
        "filtered": {"trap": 3},
        "cost": cost | {"measured_ns": 7 * second, "memory_bytes": 41 << 20},
    }
    opening = facts(kvm={"functions": {str(0x1B3A): "kvm_swap_active_memslots\n"}}) | {"exits": "recent"}
    return trace(folder, rows, opening=opening, tasks=tasks, lost=lost, ended=ended, more=more)


def kept_file(name: str, folder: Path) -> Trace:
    """A recording of the emulated host."""
    return traces.load(RECORDINGS / f"{name}.sld")


def model(*options: str) -> Callable[[Path], Trace]:
    """A recording of the model."""
    return lambda folder: simulated(folder, *options)


def phases(folder: Path) -> Trace:
    """A loop, seconds in which the guest gets on, and the loop again; signals and exits were recorded."""
    rows = [*loop(1300), *(completed(index * 50 * MS) for index in range(27, 80)), *loop(300, 4_500 * MS)]
    sent = [signalled(index * MS - 70_000) for index in range(1, 300)]
    exits = [exited(index * MS - 10_000, vector=17) for index in range(1, 300)]
    exits += [exited(index * 4 * MS - 20_000, 1, rip=0x9000 + index % 2) for index in range(1, 70)]
    return trace(folder, rows, tasks=[task(VMM, b"qemu-system-x86")], more={"signal": sent, "exit": exits})


def locks(folder: Path) -> Trace:
    """Threads that wait for a penalized vCPU; bus locks of another, and alignment checks of a third."""
    rows = [completed(index * 400 * MS) for index in range(10)]
    stalls = [waited(index * 400 * MS + MS, 12 * MS) for index in range(5)]
    stalls += [waited(index * 400 * MS + 2 * MS, 6 * MS, "MUTEX", tid=301) for index in range(3)]
    counts = [
        counted(74, 12_000, {12: 12_000}, tid=VCPU + 1, vcpu=1),
        counted(0, 500, {12: 500}, tid=VCPU + 2, vcpu=2, vector=17),
    ]
    exits = [exited(index * MS, vector=17, tid=VCPU + 2, vcpu=2, host_ns=4_000) for index in range(20)]
    opening = facts(kvm={"functions": {str(0x1B3A): "kvm_swap_active_memslots"}})
    more = {"stall": stalls, "counts": counts, "exit": exits}
    return trace(folder, rows, opening=opening, tasks=[task(VMM, b"qemu-system-x86")], more=more)


def storm(folder: Path) -> Trace:
    """A program switches detection on again a millisecond after each penalty."""
    rows = [completed(index * 250 * MS) for index in range(20)]
    ends = [row["end_ns"] - START_NS for row in rows]
    writes = [write for end in ends for write in window(end, end + MS)]
    return trace(folder, rows, tasks=[task(VMM, b"qemu-system-x86")], detection=writes)


def amd(folder: Path) -> Trace:
    """A host without a penalty, and whose VM exits were not watched."""
    opening = facts(cpu={"vendor": "AuthenticAMD", "model": "AMD EPYC 9575F 64-Core Processor"})
    return trace(folder, opening=opening, more={"detail": [step(0, "TRAPS", "TRAPS", "START")]})


FROM_LAB: dict[str, dict[str, str]] = {
    "findings": {
        "lab-early-return-loop": "loop",
        "lab-semaphore-early-return": "semaphore",
        "lab-user-space-split-lock": "program",
        "lab-migration-defeat": "moved",
        "lab-semaphore-queue": "queue",
        "lab-penalty-slowdown": "slowed",
        "lab-lock-hold": "slots",
        "lab-detection-left-off": "two at once",
        "lab-real-time": "real time",
        "lab-toggle-storm": "guarded",
        "lab-guest-ac": "own",
        "lab-nothing": "overloaded",
    },
    "findings_fatal": {"lab-fatal": "fatal"},
}
"""What is kept of which part of tests/machines.py: the name here, and that in integration/findings.py."""

_FOUR = ("--vcpus", "4", "--cpus", "4")

CASES: dict[str, Callable[[Path], Trace]] = {
    "livelock": livelock,
    "bystanders": bystanders,
    "losses": losses,
    "kept": trimmed,
    "detail": detail,
    "phases": phases,
    "locks": locks,
    "storm": storm,
    "amd": amd,
    "semaphore": model("--timer", "17ms", *_FOUR, "-d", "5s"),
    "program": model("--timer", "1ms", "--program", "-d", "500ms"),
    "fatal": model("--mode", "fatal", "-d", "1s"),
    "migration": model("--timer", "none", "--migrate", "1ms", "--cpus", "2", "-d", "1s"),
    "queue": model("--timer", "none", *_FOUR, "-d", "1s"),
    "slowed": model("--timer", "20ms", "-d", "1s"),
    "left-off": model("--mitigate", "0", *_FOUR, "-d", "1s"),
    # The lab's CPU has no VM exits for bus locks.
    "bus-lock": model("--mode", "off", "--bus-lock-exits", "--spacing", "1ms", "-d", "3s"),
} | {name: partial(kept_file, name) for names in FROM_LAB.values() for name in names}

EACH_KIND = (
    "livelock",
    "locks",
    "storm",
    "semaphore",
    "program",
    "migration",
    "queue",
    "slowed",
    "left-off",
    "bus-lock",
    "lab-fatal",
    "lab-guest-ac",
    "lab-lock-hold",
    "lab-early-return-loop",
    "lab-toggle-storm",
    "lab-migration-defeat",
)
"""Names of cases that together have each kind of finding."""


JSON = ("livelock", "losses", "lab-early-return-loop")
"""The cases whose JSON is kept; that of the others must fit the schema."""


@cache
def report(name: str) -> Report:
    """The report of a case."""
    with TemporaryDirectory() as folder:
        return rendering.built(CASES[name](Path(folder)))


def kept(name: str) -> dict[str, str]:
    """What is kept of a case, by the name of its file. Of the evidence in JSON the first row is enough."""
    texts = {f"{name}.txt": rendering.as_text(report(name), WIDTH)}
    if name in JSON:
        content = json.loads(rendering.as_json(report(name)))
        for finding in content["findings"]:
            del finding["evidence"][1:]
        texts[f"{name}.json"] = json.dumps(content, indent=2) + "\n"
    return texts


def main() -> None:
    """Writes all of them, and removes what is no longer kept."""
    texts = {file: text for name in CASES for file, text in kept(name).items()}
    for path in DATA.iterdir():
        if path.name not in texts:
            path.unlink()
    for file, text in texts.items():
        (DATA / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
