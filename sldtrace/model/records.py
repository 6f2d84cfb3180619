"""Events of the simulator as the records that `sldtrace record` would write."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sldtrace.model.jiffies import jiffies_to_msecs
from sldtrace.model.penalty import SLEEP_MS
from sldtrace.model.simulator import Batch, Runs, Scene
from sldtrace.model.thread import Column, Times, Traps
from sldtrace.recording import schema as schemas
from sldtrace.recording.layout import Records

TGID = 1000
"""Process of all simulated threads; thread i has TID TGID + 1 + i."""

EINTR = 4
_KVM_EXIT_INTR = 10  # include/uapi/linux/kvm.h
_VMX, _EXCEPTION_NMI, _EXTERNAL_INTERRUPT, _BUS_LOCK = 1, 0, 1, 74  # Intel SDM volume 3, appendix C
_AC = 0x8000_0311  # interruption information of #AC: valid, hardware exception, vector 17
_SECOND_NS = 1_000_000_000
_LAST_BIN = 31  # of host_log2
_HOST_NS = 1_000  # of an exit for the host's tick


@dataclass(frozen=True)
class ThreadIdentity:
    """What the simulated threads are in the recording."""

    guest: bool = True  # vCPUs; False: programs on the host
    rip: int = 0x4018  # address of their split lock
    exits: bool = False  # with records of VM exits
    bus_locks: bool = False  # the VMM enabled VM exits on bus locks (KVM_CAP_X86_BUS_LOCK_EXIT)


def tasks(count: int, identity: ThreadIdentity, ns: int) -> Records:
    """The task record of each thread."""
    found = _new("task", count)
    found["ns"], found["tgid"] = ns, TGID
    found["tid"] = TGID + 1 + np.arange(count)
    found["comm"] = [f"CPU {i}/KVM" if identity.guest else f"program {i}" for i in range(count)]
    return found


def from_batch(batch: Batch, scene: Scene, identity: ThreadIdentity) -> Mapping[str, Records]:
    """The records of a batch by kind, each kind in order of time."""
    traps = [_traps(rows, index, scene, identity) for index, rows in enumerate(batch.traps)]
    found = {
        "trap": _ordered(traps, "trap"),
        "detection": _detection(batch),
        "signal": _ordered([_signals(each, scene, i) for i, each in enumerate(batch.signals)], "signal"),
        "migrate": _migrations(batch),
    }
    if identity.exits and identity.guest:
        runs = np.concatenate([np.zeros((0, 5), np.int64), *batch.runs])
        per_thread = [(runs[runs[:, 0] == index], rows, index) for index, rows in enumerate(batch.traps)]
        tick = scene.penalty.tick_ns
        found["exit"] = _ordered([_exits(*each, identity, tick) for each in per_thread], "exit")
        found["user_exit"] = _ordered([_returns(*each) for each in per_thread], "user_exit")
    return found


def bus_locks(scene: Scene, duration_ns: int) -> Records:
    """`counts` records of bus-lock exits, one a second, of guests whose split locks do not trap.

    Each split lock causes such an exit, for which the VMM needs as long as for a signal (Costs.outside_ns).
    """
    starts = np.arange(0, duration_ns, _SECOND_NS)
    found = _new("counts", len(starts) * len(scene.vcpus))
    rows = found.reshape(len(starts), len(scene.vcpus))
    rows["since_ns"] = scene.start_ns + starts[:, None]
    rows["ns"] = scene.start_ns + np.minimum(starts + _SECOND_NS, duration_ns)[:, None]
    for index, vcpu in enumerate(scene.vcpus):
        spacing, outside = vcpu.costs.spacing_ns, vcpu.costs.outside_ns
        mine = rows[:, index]
        mine["count"] = (mine["ns"] - mine["since_ns"]) // (spacing + outside)
        mine["guest_ns"], mine["host_ns"] = mine["count"] * spacing, mine["count"] * outside
        mine["host_log2"][:, min(outside.bit_length() - 1, _LAST_BIN)] = mine["count"]
        mine["tid"], mine["vcpu"] = TGID + 1 + index, index
    found["tgid"], found["reason"], found["vector"], found["isa"] = TGID, _BUS_LOCK, -1, _VMX
    return found


def _new(kind: str, count: int) -> Records:
    records: Records = np.zeros(count, schemas.current().records[kind].dtype)
    return records


def _ordered(parts: list[Records], kind: str) -> Records:
    whole = np.concatenate([_new(kind, 0), *parts])
    times = whole[schemas.current().records[kind].time_field]
    ordered: Records = whole[np.argsort(times, kind="stable")]
    return ordered


def _traps(rows: Traps, index: int, scene: Scene, identity: ThreadIdentity) -> Records:
    flag = schemas.current().enums["trap_flags"].values
    penalty, source = scene.penalty, scene.vcpus[index].source
    found = _new("trap", len(rows))
    slept, waited = rows[:, Column.SLEEP_BEGIN] > 0, rows[:, Column.WAIT_BEGIN] > 0
    detection_off, killed = rows[:, Column.DETECTION_OFF] > 0, rows[:, Column.KILLED] > 0
    found["start_ns"], found["end_ns"] = rows[:, Column.START], rows[:, Column.END]
    found["rip"] = identity.rip
    found["sleep_ns"] = rows[:, Column.SLEEP_END] - rows[:, Column.SLEEP_BEGIN]
    found["semaphore_ns"] = rows[:, Column.WAIT_END] - rows[:, Column.WAIT_BEGIN]
    found["signal_ns"] = rows[:, Column.SIGNAL]
    found["tgid"], found["tid"], found["vcpu"] = TGID, TGID + 1 + index, index if identity.guest else -1
    found["start_cpu"], found["end_cpu"] = rows[:, Column.START_CPU], rows[:, Column.END_CPU]
    found["sleep_requested_ms"] = np.where(slept, SLEEP_MS, 0)
    left_ms = [jiffies_to_msecs(left, penalty.tick_ns) for left in range(penalty.sleep_jiffies + 1)]
    found["sleep_left_ms"] = np.array(left_ms)[rows[:, Column.LEFT]]
    found["semaphore_result"] = np.where(waited & ~detection_off, -EINTR, 0)
    signalled = rows[:, Column.SIGNAL] > 0
    found["signal"] = np.where(signalled, source.signo, 0)
    found["signal_code"] = np.where(signalled, source.code, 0)
    flags = np.full(len(rows), flag["MSR_WATCHED"], np.int64)
    for name, holds in (
        ("WARNED", ~killed),
        ("HANDLED", ~killed),
        ("SLEPT", slept),
        ("SEMAPHORE", waited),
        ("MSR_CLEARED", detection_off),
        ("SIGNAL_GROUP", signalled & source.to_process),
    ):
        flags |= np.where(holds, flag[name], 0)
    if identity.guest:
        flags |= flag["GUEST"] | flag["EXITS_WATCHED"]
        found["guest_ns"], found["exits"] = rows[:, Column.GUEST], rows[:, Column.EXITS]
    found["flags"] = flags
    return found


def _signals(times: Times, scene: Scene, index: int) -> Records:
    source = scene.vcpus[index].source
    found = _new("signal", len(times))
    found["ns"], found["tgid"] = times, TGID
    found["tid"] = 0 if source.to_process else TGID + 1 + index
    # The CPU that a timer's interrupt came to is not simulated: the thread's own at first.
    found["signal"], found["signal_code"], found["cpu"] = source.signo, source.code, scene.vcpus[index].cpu
    return found


def _detection(batch: Batch) -> Records:
    found = _new("detection", len(batch.detection))
    if batch.detection:
        rows = np.array(batch.detection, np.int64)
        found["ns"], found["value"], found["cpu"] = rows[:, 0], rows[:, 1], rows[:, 2]
        found["tid"] = np.where(rows[:, 3] < 0, 0, TGID + 1 + rows[:, 3])
    return found


def _migrations(batch: Batch) -> Records:
    found = _new("migrate", len(batch.migrations))
    if batch.migrations:
        rows = np.array(batch.migrations, np.int64)
        found["ns"], found["tgid"], found["tid"] = rows[:, 0], TGID, TGID + 1 + rows[:, 1]
        found["from_cpu"], found["to_cpu"] = rows[:, 2], rows[:, 3]
    return found


# One for each tick of the host in guest mode, one for what ended it.
def _exits(runs: Runs, rows: Traps, index: int, identity: ThreadIdentity, tick: int) -> Records:
    flag = schemas.current().enums["exit_flags"].values
    begin, end = runs[:, 1], runs[:, 2]
    ticks = end // tick - begin // tick
    count = ticks + 1
    number = np.repeat(np.arange(len(runs)), count)
    nth = np.arange(len(number)) - np.repeat(np.cumsum(count) - count, count)
    last = nth == ticks[number]
    at = np.where(last, end[number], (begin[number] // tick + 1 + nth) * tick)
    before = np.where(nth == 0, begin[number], (begin[number] // tick + nth) * tick)
    entry = np.concatenate([begin[1:], end[-1:]])[number] if len(runs) else number
    known = ~last | (number < len(runs) - 1)
    early = np.isin(end, rows[rows[:, Column.SIGNAL] > 0, Column.START])
    split = runs[:, 4] > 0
    out = last & (~split | early)[number]
    found = _new("exit", len(number))
    found["ns"], found["guest_ns"], found["rip"] = at, at - before, identity.rip
    found["host_ns"] = np.where(last, np.where(known, entry - at, 0), _HOST_NS)
    trapped = last & split[number]
    found["reason"] = np.where(trapped, _EXCEPTION_NMI, _EXTERNAL_INTERRUPT)
    found["intr_info"] = np.where(trapped, _AC, 0)
    found["tgid"], found["tid"], found["vcpu"] = TGID, TGID + 1 + index, index
    found["exit_cpu"] = runs[:, 3][number]
    later = np.concatenate([runs[1:, 3], runs[-1:, 3]])[number] if len(runs) else number
    found["entry_cpu"] = np.where(last, later, found["exit_cpu"])
    found["isa"] = _VMX
    found["flags"] = np.where(out, flag["USER"], 0) | np.where(known, 0, flag["NO_ENTRY"])
    return found


# KVM_RUN returns with EINTR after each early return, and when a signal ends guest mode.
def _returns(runs: Runs, rows: Traps, index: int) -> Records:
    signalled = runs[runs[:, 4] == 0]
    ended = rows[rows[:, Column.SIGNAL] > 0]
    found = _new("user_exit", len(signalled) + len(ended))
    found["ns"] = np.concatenate([signalled[:, 2], ended[:, Column.END]])
    found["cpu"] = np.concatenate([signalled[:, 3], ended[:, Column.END_CPU]])
    found["tgid"], found["tid"], found["vcpu"] = TGID, TGID + 1 + index, index
    found["reason"], found["error"] = _KVM_EXIT_INTR, -EINTR
    return found
