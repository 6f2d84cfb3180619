"""What happened around the penalties: waits for a penalized vCPU, and threads that were moved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sldtrace.dataset import tallies
from sldtrace.dataset.rows import BATCH, Array
from sldtrace.dataset.trace import Trace
from sldtrace.host.exits import user_name
from sldtrace.lazy import pd
from sldtrace.recording.layout import Records
from sldtrace.reporters import wording
from sldtrace.reporters.document import Section, Text
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address

_WAITS = 3  # the longest ones
_MOVED = 3  # threads

_LOCKS = {"srcu": "for readers of kvm->srcu", "mutex": "for a mutex"}


def sections(trace: Trace, threads: pd.DataFrame) -> Iterator[Section]:
    """Those in which there is something. `threads` as analyzers.threads.summarize gives it."""
    yield from _stalls(trace, threads)
    yield from _migrations(trace, threads)


def _stalls(trace: Trace, threads: pd.DataFrame) -> Iterator[Section]:
    count = total = 0
    for records in trace.recording.batches("stall", BATCH):
        mine = records[records["penalized_tid"] != 0]
        count, total = count + len(mine), total + int(waited_ns(mine).sum())
    if not count:
        return
    texts = []
    for row in tallies.largest(trace, "stall", _penalized_ns, _WAITS).to_dict("records"):
        if not row["penalized_tid"]:
            break
        who = trace.subject(row["tgid"], row["tid"], None)
        vcpu = _vcpu(threads, row["tgid"], row["penalized_tid"])
        penalized = "" if vcpu is None else f"vCPU {vcpu}, "
        caller = trace.text("kvm", "functions", str(row["caller"]))
        where = escape(caller, 64) or f"kvm+{address(row['caller'])}"
        lock = _LOCKS.get(str(row["what"]), "")
        failed = "" if row["result"] == 0 else f" without success ({user_name(0, row['result'])})"
        texts.append(
            Text(
                f"{wording.moment(trace, row['ns'], date=False)}: {wording.thread(who)} waited"
                f" {wording.length(row['waited_ns'])} {lock} in {where}{failed},"
                f" while {penalized}TID {row['penalized_tid']} was penalized"
            )
        )
    yield Section(
        f"Waits for a penalized vCPU: {wording.plural(count, 'wait')}, {wording.length(total)} in all", texts
    )


def _migrations(trace: Trace, threads: pd.DataFrame) -> Iterator[Section]:
    moves = tallies.value_counts(trace, "migrate", "tgid", "tid")
    if moves.empty:
        return
    movers = tallies.value_counts(trace, "migrate", "tgid", "tid", "by_tgid", "by_tid")
    ways = tallies.value_counts(trace, "migrate", "tgid", "tid", "from_cpu", "to_cpu")
    texts = []
    for row in moves.head(_MOVED).to_dict("records"):
        tgid, tid = int(row["tgid"]), int(row["tid"])
        who = trace.subject(tgid, tid, _vcpu(threads, tgid, tid))
        name = wording.thread(who) if who.vcpu is None else f"vCPU {who.vcpu} of {wording.thread(who)}"
        mine = _of(ways, tgid, tid)
        cpus = {*mine["from_cpu"], *mine["to_cpu"]}
        often = wording.plural(int(row["count"]), "time")
        mover = _mover(trace, _of(movers, tgid, tid))
        texts.append(Text(f"{name}: {often}, between {len(cpus)} CPUs; {mover}"))
    count = wording.plural(len(moves), "thread")
    yield Section(f"Moved to another CPU within a second of a trap: {count}", texts)


def _of(rows: pd.DataFrame, tgid: int, tid: int) -> pd.DataFrame:
    return rows[(rows["tgid"] == tgid) & (rows["tid"] == tid)]


# The thread that was running when the scheduler moved this one: its mover, if there was one.
def _mover(trace: Trace, mine: pd.DataFrame) -> str:
    # Of equally many, the smallest.
    most = mine.sort_values(["count", "by_tgid", "by_tid"], ascending=[False, True, True]).iloc[0]
    tid = int(most["by_tid"])
    times = f"{int(most['count']):,} of them while"
    if tid == most["tid"]:
        return f"{times} it was running itself"
    if not tid:
        return f"{times} the CPU was idle"
    return f"{times} {wording.thread(trace.subject(int(most['by_tgid']), tid, None))} was running"


def waited_ns(stalls: Records) -> Array:
    """How long each wait was."""
    return stalls["end_ns"].astype(np.int64) - stalls["ns"].astype(np.int64)


# Those for no penalized thread are smaller than all others.
def _penalized_ns(stalls: Records) -> Array:
    return np.where(stalls["penalized_tid"] != 0, waited_ns(stalls), -1)


def _vcpu(threads: pd.DataFrame, tgid: int, tid: int) -> int | None:
    known = threads[(threads["tgid"] == tgid) & (threads["tid"] == tid)]["vcpu"].dropna()
    return int(known.iloc[0]) if len(known) else None
