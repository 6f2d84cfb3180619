"""Estimates the source of the signals to a recorded thread: kind of timer, period, jitter."""

import numpy as np
import numpy.typing as npt

from sldtrace.dataset.rows import Rows
from sldtrace.model.sources import SHORTEST_NS, Kind, Source
from sldtrace.model.thread import Times

_QUARTILES = 1.349  # distance of the quartiles of a normal distribution, in standard deviations
_DRIFT_GAPS = 32  # fewer tell nothing of a drift
_DRIFT_GAPS_MOST = 1 << 18  # more than enough
_DRIFT = 1.5  # by which the errors of a clock grow that is set anew each time; of a regular one they do not
_MISSED = 1.5  # a gap of so many periods has a signal in it that was not recorded


def estimate(rows: Rows, after: npt.NDArray[np.bool_], records: Rows, turn_ns: int) -> tuple[Source, int]:
    """The source, and the number of gaps that it is estimated from.

    rows: the thread's traps by time; after: those that follow a trap which a signal ended;
    records: signal records of the thread and its process, by time, if there are any; turn_ns: from a
    signal until the thread is back in KVM_RUN. Kind.NONE where no signal was seen.
    """
    ended = rows["signal"].to_numpy() > 0
    kinds = rows[ended].value_counts("signal", "signal_code", "signal_group")
    if kinds.empty and after.any():
        # Something ended them early, but no signal was seen.
        gaps = np.diff(rows["start_ns"].to_numpy())[after[1:]]
        return _timed(Kind.PERIODIC, gaps, 0, 0, False), 0
    if kinds.empty:
        to_process = records.assign(signal_group=records["tid"] == 0)
        kinds = to_process.value_counts("signal", "signal_code", "signal_group")
    if kinds.empty:
        return Source(), 0
    what = ["signal", "signal_code", "signal_group"]
    most = kinds[kinds["count"] == kinds["count"].max()].sort_values(what).iloc[0]
    signo, code, group = (int(most[name]) for name in what)
    times, adjacent = _recorded(records, signo, code, bool(group))
    if not adjacent.any():
        mine = ended & (rows["signal"] == signo).to_numpy() & (rows["signal_code"] == code).to_numpy()
        times, adjacent = rows["signal_ns"].to_numpy(), after[1:] & mine[1:] & mine[:-1]
        if not adjacent.any():
            # Signals that come between completed penalties are in no trap: the shortest gap is nearest.
            gaps = np.diff(times[mine])
            if not len(gaps):
                return Source(signo=signo, code=code), 1
            return _timed(Kind.REARMED, gaps[gaps == gaps.min()], signo, code, False), len(gaps)
    gaps = np.diff(times)[adjacent]
    if group or _is_regular(times, adjacent):
        return _timed(Kind.PERIODIC, gaps, signo, code, bool(group)), len(gaps)
    return _timed(Kind.REARMED, gaps - turn_ns, signo, code, False), len(gaps)


def _timed(kind: Kind, gaps: Times, signo: int, code: int, group: bool) -> Source:
    low, middle, high = np.quantile(gaps, [0.25, 0.5, 0.75])
    return Source(kind, max(SHORTEST_NS, int(middle)), int((high - low) / _QUARTILES), group, signo, code)


def _recorded(records: Rows, signo: int, code: int, group: bool) -> tuple[Times, npt.NDArray[np.bool_]]:
    mine = (records["signal"] == signo) & (records["signal_code"] == code) & ((records["tid"] == 0) == group)
    times: Times = records["ns"].to_numpy()[mine]
    gaps = np.diff(times)
    return times, gaps < _MISSED * np.median(gaps) if len(gaps) else np.zeros(0, bool)


# Does the time of a signal depend on when the one before it came? A timer that is armed anew drifts.
def _is_regular(times: Times, adjacent: npt.NDArray[np.bool_]) -> bool:
    edges = np.flatnonzero(~adjacent)
    starts, ends = np.concatenate([[0], edges + 1]), np.concatenate([edges, [len(adjacent)]])
    longest = int(np.argmax(ends - starts))
    first = int(starts[longest])
    last = min(int(ends[longest]), first + _DRIFT_GAPS_MOST)
    if last - first < _DRIFT_GAPS:
        return False
    run = (times[first : last + 1] - times[first]).astype(np.float64)
    number = np.arange(len(run))
    errors = run - np.polyval(np.polyfit(number, run, 1), number)
    return float(np.std(errors)) < _DRIFT * max(float(np.std(np.diff(run))), 1.0)
