"""What top shows of each VM and each of its threads, from the rates of all threads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.host import signals
from sldtrace.host.vms.names import process_label
from sldtrace.model import early_returns as rule
from sldtrace.text.escape import escape
from sldtrace.text.phrases import address

Array = npt.NDArray[Any]
Describe = Callable[[int], Mapping[str, Any]]
"""host.vms.process.describe of a TGID, as far as known."""

SORT_KEYS = ("verdict", "traps", "early", "penalty", "progress", "name")

_SUMS = (
    *("traps", "early_returns", "completed", "not_penalized", "fatal", "slept_ns", "waited_ns"),
    *("traps_per_s", "early_returns_per_s", "detection_off_per_s", "penalty_share", "livelock"),
    *("bus_locks", "bus_locks_per_s"),
)


@dataclass(frozen=True)
class Row:
    """A thread, or a VM with all its threads; for the fields of rates see capture.live.rates.Rates.

    name: of the VM, or of the process, escaped; tid, vcpu: None of a VM, or not known; threads: that trapped
    or have bus locks; livelocked: of them; penalty_ns: slept and waited; penalty_share: of a VM, the mean of
    its threads that trapped since the last look; loop_since_ns: CLOCK_MONOTONIC, 0: in no loop of early
    returns; rip, signal, sender_tgid: of the last trap (of a VM: of the thread with most traps), signal empty
    without one; period_ns: mean time between two traps, None without two; verdict: see VERDICTS.
    """

    name: str
    tgid: int
    tid: int | None
    vcpu: int | None
    guest: bool
    threads: int
    livelocked: int
    traps: int
    early_returns: int
    completed: int
    not_penalized: int
    fatal: int
    penalty_ns: int
    bus_locks: int
    traps_per_s: float
    early_returns_per_s: float
    detection_off_per_s: float
    bus_locks_per_s: float
    penalty_share: float
    rip: int
    signal: str
    sender_tgid: int
    period_ns: float | None
    loop_since_ns: int
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "rip": address(self.rip)}


VERDICTS = ("livelock", "delayed", "penalized", "not penalized", "fatal", "bus locks", "idle")
"""The worst first. Those of a loop that the thread is in are the report's (model.early_returns.verdict); the
others are about the time since the last look: penalties that completed; traps without one; the thread was
killed; bus locks and no traps."""


def threads(rates: Array, describe: Describe) -> list[Row]:
    """A row for each thread."""
    return [_row(each, describe) for each in rates]


def vms(rates: Array, describe: Describe) -> list[Row]:
    """A row for each process, by TGID."""
    tgids, inverse = np.unique(rates["tgid"], return_inverse=True)
    found = []
    order = np.argsort(inverse, kind="stable")
    heads = np.searchsorted(inverse[order], np.arange(len(tgids)))
    for mine in np.split(order, heads[1:]) if len(tgids) else []:
        rows = rates[mine]
        one = rows[np.lexsort((rows["bus_locks_per_s"], rows["traps"], rows["traps_per_s"]))[-1]].copy()
        active = max(1, int((rows["traps_per_s"] > 0).sum()))
        for name in _SUMS:
            if name != "livelock":
                one[name] = rows[name].sum()
        one["penalty_share"] /= active
        one["guest"] = rows["guest"].any()
        since = rows["loop_since_ns"][rows["loop_since_ns"] > 0]
        one["loop_since_ns"] = since.min() if len(since) else 0
        one["livelock"] = rows["livelock"].any()
        found.append(_row(one, describe, rows))
    return found


def ordered(rows: Sequence[Row], key: str) -> list[Row]:
    """By one of SORT_KEYS: the worst, or the most, first; then by name and number."""
    keys: dict[str, Callable[[Row], Any]] = {
        # Rounded, so that rows that are about equal keep their places.
        "verdict": lambda row: (VERDICTS.index(row.verdict), -round(row.penalty_share, 1)),
        "traps": lambda row: -row.traps_per_s,
        "early": lambda row: -row.early_returns_per_s,
        "penalty": lambda row: -row.penalty_share,
        "progress": lambda row: row.detection_off_per_s,
        "name": lambda row: 0,
    }
    return sorted(rows, key=lambda row: (keys[key](row), row.name, row.tgid, _number(row)))


def _number(row: Row) -> tuple[int, int]:
    return (row.vcpu if row.vcpu is not None else 1 << 32, row.tid or 0)


# of: the threads of a VM.
def _row(one: Any, describe: Describe, of: Array | None = None) -> Row:
    tgid = int(one["tgid"])
    vcpu = int(one["vcpu"])
    number = int(one["signal"])
    per_s = float(one["traps_per_s"]) / (1 if of is None else max(1, int((of["traps_per_s"] > 0).sum())))
    return Row(
        name=escape(process_label(describe(tgid)) or f"PID {tgid}"),
        tgid=tgid,
        tid=int(one["tid"]) if of is None else None,
        vcpu=vcpu if of is None and vcpu >= 0 else None,
        guest=bool(one["guest"]),
        threads=1 if of is None else len(of),
        livelocked=int(one["livelock"]) if of is None else int(of["livelock"].sum()),
        traps=int(one["traps"]),
        early_returns=int(one["early_returns"]),
        completed=int(one["completed"]),
        not_penalized=int(one["not_penalized"]),
        fatal=int(one["fatal"]),
        penalty_ns=int(one["slept_ns"] + one["waited_ns"]),
        bus_locks=int(one["bus_locks"]),
        traps_per_s=float(one["traps_per_s"]),
        early_returns_per_s=float(one["early_returns_per_s"]),
        detection_off_per_s=float(one["detection_off_per_s"]),
        bus_locks_per_s=float(one["bus_locks_per_s"]),
        penalty_share=float(one["penalty_share"]),
        rip=int(one["rip"]),
        signal=signals.name(number) if number else "",
        sender_tgid=int(one["sender_tgid"]),
        period_ns=1e9 / per_s if per_s else None,
        loop_since_ns=int(one["loop_since_ns"]),
        verdict=_verdict(one),
    )


def _verdict(one: Any) -> str:
    if one["loop_since_ns"]:
        return rule.verdict(bool(one["livelock"]))[0]
    if one["fatal"]:
        return "fatal"
    if one["penalty_share"] > 0:
        return "penalized"
    if one["traps_per_s"] > 0:
        return "not penalized"
    return "bus locks" if one["bus_locks_per_s"] > 0 else "idle"
