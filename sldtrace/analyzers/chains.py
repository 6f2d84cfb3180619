"""Chains of early returns: early traps of a thread at one address, with detection on between them.

The rule is in sldtrace.model.early_returns.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sldtrace.analyzers import cores
from sldtrace.dataset.rows import Rows
from sldtrace.host.msr import DETECT
from sldtrace.model import early_returns as rule
from sldtrace.model.early_returns import Bools, Times
from sldtrace.model.penalty import Penalty

BATCH = 1 << 20
"""Traps that are compared with writes of MSR_TEST_CTRL at a time."""


def find_chains(traps: Rows, detection: Rows, core: Callable[[int], int], penalty: Penalty) -> Rows:
    """The early traps, by thread, address and time, with the number of their chain in `chain`.

    detection: writes of MSR_TEST_CTRL; core: of a CPU, which shares that MSR with its sibling. Where the
    MSR was not watched, less than a penalty may have passed since the thread's last trap.
    """
    places, numbers, count = [], [], 0
    opened = _opened(traps, detection, core)
    for rows in traps.assign(place=np.arange(len(traps), dtype=np.uint32), opened=opened).threads.values():
        stretch = _stretches(rows, penalty)
        for _, early in rows.assign(stretch=stretch)[rows["early_return"]].groupby("rip"):
            begins = ~same_as_previous(early["stretch"])
            places.append(early.raw("place"))
            numbers.append((count - 1 + begins.cumsum()).astype(np.uint32))
            count += int(begins.sum())
    chosen = np.concatenate([np.zeros(0, np.uint32), *places])
    return traps.take(chosen).assign(chain=np.concatenate([np.zeros(0, np.uint32), *numbers]))


# For each trap of a thread, in order: how many breaks there were up to it.
def _stretches(rows: Rows, penalty: Penalty) -> npt.NDArray[np.uint32]:
    same: Bools = np.ones(len(rows), bool)
    same[:1] = False
    watched, enter = rows["msr_watched"].to_numpy(), rows["start_ns"].to_numpy()
    known = watched & np.concatenate([watched[:1], watched[:-1]])
    early, opened = rows["early_return"].to_numpy(), rows["opened"].to_numpy()
    breaks = rule.breaks(penalty, same, early, known, _since(rows), enter, opened)
    return breaks.cumsum(dtype=np.uint32)


# When the thread returned from the trap before; 0 for the first.
def _since(rows: Rows) -> Times:
    found: Times = np.zeros(len(rows), np.int64)
    found[1:] = rows["end_ns"].to_numpy()[:-1]
    return found


# For each trap, in order of time: was detection off on its core since the thread's last one?
def _opened(traps: Rows, detection: Rows, core: Callable[[int], int]) -> Bools:
    since: Times = np.zeros(len(traps), np.int64)
    for rows in traps.assign(place=np.arange(len(traps), dtype=np.uint32)).threads.values():
        since[rows.raw("place")] = _since(rows)
    enter = traps["start_ns"].to_numpy()
    on_core = cores.of_cpus(traps["start_cpu"], core)
    write_core, write_ns = cores.of_cpus(detection["cpu"], core), detection["ns"].to_numpy()
    write_on = (detection["value"].to_numpy() & DETECT) != 0
    windows = rule.Windows()
    found: Bools = np.zeros(len(traps), bool)
    done = 0
    for start in range(0, len(traps), BATCH):
        batch = slice(start, start + BATCH)
        until = len(write_ns)
        if start + BATCH < len(traps):
            until = int(np.searchsorted(write_ns, enter[start + BATCH]))
        writes = slice(done, until)
        found[batch] = windows.opened(
            on_core[batch], since[batch], enter[batch], write_core[writes], write_ns[writes], write_on[writes]
        )
        done = until
    return found


def select_loops(rows: Rows, penalty: Penalty) -> Rows:
    """The rows of find_chains whose chain lasted longer than a whole penalty."""
    begins, starts, ends = spans(rows)
    count = np.diff(np.append(begins, len(rows)))
    return rows[np.repeat(rule.is_loop(count, ends - starts, penalty), count)]


def spans(rows: Rows) -> tuple[npt.NDArray[np.intp], Times, Times]:
    """Of each chain of find_chains: the position of its first trap, its first entry, its last return."""
    begins = np.flatnonzero(~same_as_previous(rows["chain"]))
    if not len(begins):
        return begins, np.zeros(0, np.int64), np.zeros(0, np.int64)
    first = rows["start_ns"].to_numpy()[begins]
    return begins, first, np.maximum.reduceat(rows["end_ns"].to_numpy(), begins)


def same_as_previous(column: "pd.Series[Any]") -> Bools:
    """For each value: is it that of the row before?

    Not by `shift`, which makes floats of integers: two addresses in the kernel's half may then look alike.
    """
    values = column.to_numpy()
    same: Bools = np.zeros(len(values), bool)
    same[1:] = values[1:] == values[:-1]
    return same
