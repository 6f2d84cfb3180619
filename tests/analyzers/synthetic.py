"""Recordings with made-up traps: threads with a given timer, sleep, address and guest time.

A recording is written by the real writer and opened as `sldtrace report` does. All times of a trap are
relative to START_NS, when the recording begins. Traps that switch detection off come with its records.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sldtrace.dataset import trace as traces
from sldtrace.dataset.trace import Trace
from sldtrace.host.msr import DETECT
from sldtrace.host.signals import Code
from sldtrace.recording import schema
from sldtrace.recording.writer import Writer

MS = 1_000_000
TICK = 4 * MS
# The penalty of Linux 6.12 at HZ=250: 3 jiffies. Signals within DEAD always cut it short, those after ALIVE
# never do; left alone it lasts from SHORTEST to LONGEST.
DEAD, ALIVE, SHORTEST, LONGEST = 2 * TICK, 3 * TICK, 3 * TICK, 4 * TICK
START_NS = 1_000 * MS
SPAN_NS = 10_000 * MS
CLOSED_NS = START_NS + SPAN_NS
WALL_NS = 1_790_000_000_000_000_000
SIGUSR1, SIGALRM, SIGVTALRM, SIGPROF, SIGIO = 10, 14, 26, 27, 29
VMM, VCPU = 200, 201  # TGID and TID where nothing else is said
RIP = 0x7C40

FLAGS = schema.current().enums["trap_flags"].values
EARLY = FLAGS["WARNED"] | FLAGS["SLEPT"] | FLAGS["HANDLED"] | FLAGS["EXITS_WATCHED"] | FLAGS["MSR_WATCHED"]
COMPLETED = EARLY | FLAGS["SEMAPHORE"] | FLAGS["MSR_CLEARED"]
NOT_PENALIZED = COMPLETED & ~FLAGS["SLEPT"] & ~FLAGS["SEMAPHORE"]
GUEST = FLAGS["GUEST"]
BLIND = EARLY & ~FLAGS["MSR_WATCHED"] | GUEST  # MSR_TEST_CTRL is not watched

FACTS: dict[str, Any] = {
    "tool": {"name": "sldtrace", "version": "0.0.0"},
    "clock": {"monotonic_ns": START_NS, "realtime_ns": WALL_NS},
    "kernel": {"release": "6.12.48+deb13-amd64", "version": "#1 SMP", "tick_ns": TICK, "lockdown": "none"},
    "cpu": {"vendor": "GenuineIntel", "model": "11th Gen Intel(R) Core(TM) i7-1185G7", "online": 2},
    "split_lock": {
        "mode": "warn",
        "detects_split_locks": True,
        "detects_bus_locks": False,
        "mitigate": 1,
    },
    "kvm": {"module": "kvm_intel"},
    "probes": [
        {"name": "handle_guest_split_lock", "backend": "fentry", "detail": ""},
        {"name": "msleep_interruptible", "backend": "kprobe", "detail": "asked for"},
        {"name": "kvm:kvm_exit", "backend": "tracepoint", "detail": ""},
    ],
    "filters": {"tgid": None},
}

Row = dict[str, Any]


def early(at_ns: int, slept_ns: int = MS - 50_000, left_ms: int = 9, **fields: Any) -> Row:
    """A trap whose penalty sleep a POSIX timer cut short; the handler takes 20 us besides the sleep."""
    signalled = START_NS + at_ns + slept_ns
    return {
        "end_cpu": fields.get("start_cpu", 0),
        "start_ns": START_NS + at_ns,
        "end_ns": START_NS + at_ns + slept_ns + 20_000,
        "rip": RIP,
        "sleep_ns": slept_ns,
        "sleep_left_ms": left_ms,
        "sleep_requested_ms": 10,
        "guest_ns": 6_000,
        "exits": 1,
        "tgid": VMM,
        "tid": VCPU,
        "vcpu": 0,
        "flags": EARLY | GUEST,
        "signal": SIGUSR1,
        "signal_code": int(Code.SI_TIMER),
        "signal_ns": signalled,
    } | fields


def completed(at_ns: int, **fields: Any) -> Row:
    """A trap that slept its penalty to the end, so that detection was switched off."""
    quiet = {"signal": 0, "signal_code": 0, "signal_ns": 0}
    return early(at_ns, 13 * MS, 0, **({"flags": COMPLETED | GUEST, **quiet} | fields))


def not_penalized(at_ns: int, **fields: Any) -> Row:
    """A trap with kernel.split_lock_mitigate=0: detection off at once, no sleep."""
    return (
        completed(at_ns)
        | {"end_ns": START_NS + at_ns + 5_000, "sleep_ns": 0, "sleep_requested_ms": 0}
        | {"flags": NOT_PENALIZED | GUEST}
        | fields
    )


def loop(count: int, at_ns: int = 0, period_ns: int = MS, **fields: Any) -> list[Row]:
    """`count` early returns, one each period; what is left of a period is spent outside of the handler."""
    return [early(at_ns + index * period_ns, period_ns - 50_000, **fields) for index in range(count)]


def lasting(length_ns: int, count: int = 3, at_ns: int = 0, **fields: Any) -> list[Row]:
    """`count` early returns, exactly `length_ns` from the entry of the first to the return of the last."""
    rows = [early(at_ns + index * (length_ns // count), MS // 2, **fields) for index in range(count)]
    rows[-1]["end_ns"] = START_NS + at_ns + length_ns
    return rows


def interrupted(at_ns: int, **fields: Any) -> Row:
    """A trap that a signal ended while it waited for the semaphore, before any sleep."""
    flags = (EARLY | FLAGS["SEMAPHORE"]) & ~FLAGS["SLEPT"] | GUEST
    waiting = {"sleep_ns": 0, "semaphore_ns": MS - 50_000, "semaphore_result": -4, "flags": flags}
    return early(at_ns, left_ms=0, **(waiting | fields))


def window(begin_ns: int, end_ns: int | None = None, cpu: int = 0) -> list[Row]:
    """Detection switched off on that CPU, and on again unless `end_ns` is None, by other software."""
    writes = [{"ns": START_NS + begin_ns, "value": 0, "cpu": cpu, "tid": 999}]
    if end_ns is not None:
        writes.append({"ns": START_NS + end_ns, "value": DETECT, "cpu": cpu, "tid": 0})
    return writes


def detections(traps: Iterable[Row]) -> list[Row]:
    """What the traps write into MSR_TEST_CTRL: off at their end, on again two jiffies later."""
    writes: list[Row] = []
    for trap in traps:
        if trap["flags"] & FLAGS["MSR_CLEARED"]:
            end = trap["end_ns"] - START_NS
            writes += window(end - 2_000, end + 2 * TICK, trap["end_cpu"])
    return sorted(writes, key=lambda each: each["ns"])


def task(tid: int, comm: bytes, tgid: int = VMM) -> Row:
    """The name of a thread."""
    return {"ns": START_NS, "tgid": tgid, "tid": tid, "comm": comm}


def counted(reason: int, count: int, host_log2: Mapping[int, int], **fields: Any) -> Row:
    """Exits of one reason, of Intel, in the last second; host_log2: how many by entry of the histogram."""
    histogram = [host_log2.get(entry, 0) for entry in range(32)]
    host_ns = sum(number * 3 << entry >> 1 for entry, number in host_log2.items())
    return {
        "ns": START_NS + 1_000 * MS,
        "since_ns": START_NS,
        "count": count,
        "guest_ns": count * 6_000,
        "host_ns": host_ns,
        "tgid": VMM,
        "tid": VCPU,
        "reason": reason,
        "vector": -1,
        "isa": schema.current().enums["isa"].values["VMX"],
        "host_log2": histogram,
    } | fields


def step(at_ns: int, level: str, previous: str, reason: str, measured: int = 0, limit: int = 0) -> Row:
    """A change of the level of detail."""
    levels, reasons = (schema.current().enums[name].values for name in ("level", "reason"))
    return {
        "ns": START_NS + at_ns,
        "measured": measured,
        "limit": limit,
        "level": levels[level],
        "previous": levels[previous],
        "reason": reasons[reason],
    }


def exited(at_ns: int, reason: int = 0, vector: int = -1, host_ns: int = MS, **fields: Any) -> Row:
    """One VM exit of Intel's, by itself."""
    return {
        "ns": START_NS + at_ns,
        "guest_ns": 6_000,
        "host_ns": host_ns,
        "rip": RIP,
        "reason": reason,
        "intr_info": 0x8000_0300 | vector if vector >= 0 else 0,
        "tgid": VMM,
        "tid": VCPU,
        "isa": schema.current().enums["isa"].values["VMX"],
    } | fields


def moved(at_ns: int, from_cpu: int, to_cpu: int, **fields: Any) -> Row:
    """A move of the vCPU thread, by a thread of its VMM."""
    row = {"ns": START_NS + at_ns, "tgid": VMM, "tid": VCPU, "by_tgid": VMM, "by_tid": 300}
    return row | {"from_cpu": from_cpu, "to_cpu": to_cpu} | fields


def waited(at_ns: int, length_ns: int, what: str = "SRCU", **fields: Any) -> Row:
    """A wait of another thread of the VMM for the penalized vCPU."""
    kinds = schema.current().enums["stall_kind"].values
    row = {"ns": START_NS + at_ns, "end_ns": START_NS + at_ns + length_ns, "tgid": VMM, "tid": 300}
    return row | {"what": kinds[what], "caller": 0x1B3A, "penalized_tid": VCPU} | fields


def signalled(at_ns: int, **fields: Any) -> Row:
    """A signal to the vCPU thread, by a POSIX timer."""
    row = {"ns": START_NS + at_ns, "tgid": VMM, "tid": VCPU, "signal": SIGUSR1}
    return row | {"signal_code": int(Code.SI_TIMER)} | fields


def sampled(
    at_ns: int, run_delay_ns: int, throttled_ns: int = 0, length_ns: int = 1_000 * MS, **fields: Any
) -> Row:
    """How long the vCPU thread waited for a CPU in the time before that."""
    row = {"ns": START_NS + at_ns, "since_ns": START_NS + at_ns - length_ns, "tgid": VMM, "tid": VCPU}
    return row | {"run_ns": MS, "run_delay_ns": run_delay_ns, "throttled_ns": throttled_ns} | fields


def array(kind: str, rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """The rows as records; fields that are not named are 0."""
    given = list(rows)
    records = np.zeros(len(given), schema.current().records[kind].dtype)
    for index, row in enumerate(given):
        for name, value in row.items():
            records[name][index] = value
    return records


def facts(**groups: Mapping[str, Any] | None) -> dict[str, Any]:
    """FACTS with some values of some groups changed; a group that is None is left out."""
    changed = dict(FACTS)
    for name, values in groups.items():
        if values is None:
            del changed[name]
        else:
            changed[name] = {**FACTS.get(name, {}), **values}
    return changed


def closing(seen: int, ended_by: str = "SIGINT", unfinished: int = 0) -> dict[str, Any]:
    """Closing facts of a recording that lasted SPAN_NS."""
    return {
        "clock": {"monotonic_ns": CLOSED_NS, "realtime_ns": WALL_NS + SPAN_NS},
        "ended_by": ended_by,
        "seen": {"trap": seen},
        "unfinished": {"trap": unfinished},
    }


def write(
    path: Path,
    traps: Sequence[Row] = (),
    opening: Mapping[str, Any] | None = None,
    tasks: Sequence[Row] = (),
    lost: Sequence[Row] = (),
    ended: Mapping[str, Any] | None = None,
    updates: Sequence[Mapping[str, Any]] = (),
    close: bool = True,
    detection: Sequence[Row] | None = None,
    more: Mapping[str, Sequence[Row]] | None = None,
) -> Path:
    """Writes a recording of these records; without `close` its end is missing, as after a kill.

    detection: writes of MSR_TEST_CTRL; if nothing is said, those of the traps. more: records of other kinds.
    """
    writes = detections(traps) if detection is None else detection
    path.unlink(missing_ok=True)
    writer = Writer(path, FACTS if opening is None else opening, recording_id=1)
    every = {"trap": traps, "detection": writes, "task": tasks, "lost": lost, **(more or {})}
    for kind, rows in every.items():
        if rows:
            writer.append(kind, array(kind, rows))
    for update in updates:
        writer.facts_update(update)
    writer.flush()
    whole = path.stat().st_size
    writer.close(closing(len(traps)) if ended is None else ended)
    if not close:
        path.write_bytes(path.read_bytes()[:whole])
    return path


def trace(folder: Path, traps: Sequence[Row] = (), **rest: Any) -> Trace:
    """The same as `write`, opened."""
    return traces.load(write(folder / "synthetic.sld", traps, **rest))
