"""Fatal traps of each thread, however the records are cut."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sldtrace.engine.fatal_traps import FatalTraps
from tests.analyzers.synthetic import EARLY, FLAGS, GUEST, MS, Row, early
from tests.engine.sliced import fold

KILLED = GUEST | FLAGS["MSR_WATCHED"]

traps = st.lists(
    st.builds(
        lambda at, tid, rip, vcpu, killed: early(
            at, 10, tid=tid, rip=rip, vcpu=vcpu, flags=KILLED if killed else EARLY | GUEST
        ),
        st.integers(0, 100).map(lambda ms: ms * MS),
        st.integers(1, 3),
        st.integers(1, 3),
        st.integers(-1, 1),
        st.booleans(),
    ),
    max_size=30,
    unique_by=lambda row: (row["tid"], row["start_ns"]),
)
cuts = st.lists(st.integers(0, 101).map(lambda ms: ms * MS), max_size=5)


@settings(deadline=None, max_examples=60)
@given(traps, cuts)
def test_however_the_records_are_cut(rows: list[Row], cuts: list[int]) -> None:
    summary = FatalTraps()
    threads = fold(summary, {"trap": rows}, cuts).tracker.threads
    for tid in {row["tid"] for row in rows}:
        mine = sorted((row for row in rows if row["tid"] == tid), key=lambda row: row["start_ns"])
        mine = [row for row in mine if row["flags"] == KILLED]
        found = summary.threads[threads.look_up(rows[0]["tgid"], tid)]
        assert found["traps"] == len(mine)
        if mine:
            assert found["start_ns"] == mine[0]["start_ns"]
            assert (found["rip"], found["end_ns"]) == (mine[0]["rip"], mine[-1]["end_ns"])
            known = [row for row in mine if row["vcpu"] >= 0]
            assert found["vcpu"] == (known[-1]["vcpu"] if known else -1)
            assert found["vcpu_ns"] == (known[-1]["start_ns"] if known else 0)
