"""The first traps and signals of threads, and sums of all, however the records are cut."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine import thread_samples
from sldtrace.engine.thread_samples import ThreadSamples
from tests.analyzers.synthetic import FLAGS, Row, signalled
from tests.engine.histories import cuts, histories
from tests.engine.sliced import fold


@settings(deadline=None, max_examples=50)
@given(histories, cuts, st.integers(1, 5))
def test_however_the_records_are_cut(rows: list[Row], cuts: list[int], most: int) -> None:
    who = sorted({(row["tgid"], row["tid"]) for row in rows})
    sent = [signalled(at, tgid=who[0][0], tid=who[0][1] if at % 2 else 0) for at in range(8)] if who else []
    before, thread_samples.SAMPLE = thread_samples.SAMPLE, most
    try:
        found = ThreadSamples(who)
    finally:
        thread_samples.SAMPLE = before
    fold(found, {"trap": rows, "signal": sent}, cuts)
    for row, (tgid, tid) in enumerate(who):
        mine = [each for each in rows if each["tid"] == tid]
        kept = [start for part in found.traps[row] for start in part["start_ns"].tolist()]
        assert kept == [each["start_ns"] for each in mine][:most]
        to = [each["ns"] for each in sent if each["tgid"] == tgid and each["tid"] in (0, tid)]
        assert [ns for part in found.sent[row] for ns in part["ns"].tolist()] == to[:most]
        cpus = np.array([each.get("start_cpu", 0) for each in mine])
        assert found.moves[row] == np.count_nonzero(cpus[1:] != cpus[:-1])
        off = sum(bool(each["flags"] & FLAGS["MSR_CLEARED"]) for each in mine)
        assert found.detection_off[row] >= off
