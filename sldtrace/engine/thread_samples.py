"""The first traps and signals of some threads, and sums of all their traps: to predict what they would do."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sldtrace.engine.columns import Columns
from sldtrace.engine.fold import Batch
from sldtrace.recording.layout import Records

SAMPLE = 1 << 14
"""Traps of one thread that are kept, and as many signals: the first ones."""

SAMPLES = 1 << 17
"""The same of all threads."""


class ThreadSamples:
    """threads: TGID and TID of each, each once.

    traps, sent: by thread, in the order given, parts of the first traps, and of the first signals to the
    thread or its process. detection_off, moves: how many of all traps switched detection off, and how many
    were on another CPU than the trap before.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap", "signal"})

    def __init__(self, threads: Sequence[tuple[int, int]]) -> None:
        self._threads = threads
        most = min(SAMPLE, max(SAMPLES // max(len(threads), 1), 64))
        self.traps: list[list[Records]] = [[] for _ in threads]
        self.sent: list[list[Records]] = [[] for _ in threads]
        self._room = {"traps": [most] * len(threads), "sent": [most] * len(threads)}
        self.detection_off = [0] * len(threads)
        self.moves = [0] * len(threads)

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps, signals = batch.traps, batch.records("signal")
        at = {number: position for position, number in enumerate(traps.who.tolist())}
        if len(traps):
            off = traps.sum(traps.detection_off)
            moved = traps.sum(traps.has_previous & (traps["start_cpu"] != traps.previous("start_cpu")))
        for row, (tgid, tid) in enumerate(self._threads):
            number = batch.threads.look_up(tgid, tid)
            position = None if number is None else at.get(number)
            if position is not None:
                head = int(traps.heads[position])
                length = min(int(traps.lengths[position]), self._room["traps"][row])
                self._keep("traps", row, traps.records(np.arange(head, head + length)))
                self.detection_off[row] += int(off[position])
                self.moves[row] += int(moved[position])
            if len(signals) and self._room["sent"][row]:
                self._keep("sent", row, _to(signals, tgid, tid))

    def _keep(self, name: str, row: int, records: Records) -> None:
        kept = records[: self._room[name][row]]
        if len(kept):
            self._room[name][row] -= len(kept)
            parts: list[list[Records]] = getattr(self, name)
            parts[row].append(kept if len(kept) == len(records) else kept.copy())


def _to(signals: Columns, tgid: int, tid: int) -> Records:
    mine = (signals["tid"] == tid) | ((signals["tid"] == 0) & (signals["tgid"] == tgid))
    return signals.records.compress(mine)
