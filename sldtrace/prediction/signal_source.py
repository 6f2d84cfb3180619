"""Estimates the source of the signals to a recorded thread: kind of timer, period, jitter."""

import numpy as np

from sldtrace.engine.tables import Array
from sldtrace.engine.traps import TrapColumns
from sldtrace.model.early_returns import Bools, Times
from sldtrace.model.sources import SHORTEST_NS, Kind, Source
from sldtrace.recording.layout import Records

_QUARTILES = 1.349  # distance of the quartiles of a normal distribution, in standard deviations
_DRIFT_GAPS = 32  # fewer tell nothing of a drift
_DRIFT_GAPS_MOST = 1 << 18  # more than enough
_DRIFT = 1.5  # by which the errors of a clock grow that is set anew each time; of a regular one they do not
_MISSED = 1.5  # a gap of so many periods has a signal in it that was not recorded


def estimate(traps: TrapColumns, after: Bools, records: Records, turn_ns: int) -> tuple[Source, int]:
    """The source, and the number of gaps that it is estimated from.

    traps: of the thread, by time; after: those that follow a trap which a signal ended;
    records: signal records of the thread and its process, by time, if there are any; turn_ns: from a
    signal until the thread is back in KVM_RUN. Kind.NONE where no signal was seen.
    """
    signals, codes = traps["signal"], traps["signal_code"]
    ended = signals > 0
    most = _most_frequent(signals[ended], codes[ended], traps.flag("SIGNAL_GROUP")[ended])
    if most is None and after.any():
        # Something ended them early, but no signal was seen.
        gaps = np.diff(traps["start_ns"])[after[1:]]
        return _timed(Kind.PERIODIC, gaps, 0, 0, False), 0
    if most is None:
        most = _most_frequent(records["signal"], records["signal_code"], records["tid"] == 0)
    if most is None:
        return Source(), 0
    signo, code, group = most
    times, adjacent = _recorded(records, signo, code, group)
    if not adjacent.any():
        mine = ended & (signals == signo) & (codes == code)
        times, adjacent = traps["signal_ns"], after[1:] & mine[1:] & mine[:-1]
        if not adjacent.any():
            # Signals that come between completed penalties are in no trap: the shortest gap is nearest.
            gaps = np.diff(times[mine])
            if not len(gaps):
                return Source(signo=signo, code=code), 1
            return _timed(Kind.REARMED, gaps[gaps == gaps.min()], signo, code, False), len(gaps)
    gaps = np.diff(times)[adjacent]
    if group or _is_regular(times, adjacent):
        return _timed(Kind.PERIODIC, gaps, signo, code, group), len(gaps)
    return _timed(Kind.REARMED, gaps - turn_ns, signo, code, False), len(gaps)


# Number, code, and whether it is to the process; of equally many the smallest. None: there is no signal.
def _most_frequent(signals: Array, codes: Array, groups: Bools) -> tuple[int, int, bool] | None:
    if not len(signals):
        return None
    seen = np.stack([signals.astype(np.int64), codes.astype(np.int64), groups.astype(np.int64)])
    distinct, counts = np.unique(seen, axis=1, return_counts=True)
    signo, code, group = distinct[:, counts.argmax()].tolist()
    return signo, code, bool(group)


def _timed(kind: Kind, gaps: Times, signo: int, code: int, group: bool) -> Source:
    # As np.quantile, which imports numpy.ma for that (10 ms).
    at = np.array([0.25, 0.5, 0.75]) * (len(gaps) - 1)
    low, middle, high = np.interp(at, np.arange(len(gaps)), np.sort(gaps))
    return Source(kind, max(SHORTEST_NS, int(middle)), int((high - low) / _QUARTILES), group, signo, code)


def _recorded(records: Records, signo: int, code: int, group: bool) -> tuple[Times, Bools]:
    mine = (records["signal"] == signo) & (records["signal_code"] == code) & ((records["tid"] == 0) == group)
    times: Times = records["ns"][mine].astype(np.int64)
    gaps = np.diff(times)
    return times, gaps < _MISSED * np.median(gaps) if len(gaps) else np.zeros(0, bool)


# Does the time of a signal depend on when the one before it came? A timer that is armed anew drifts.
def _is_regular(times: Times, adjacent: Bools) -> bool:
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
