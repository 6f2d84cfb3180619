"""How fast and in how much memory a recording is analysed, beside numpy, pandas, Polars and DuckDB.

Each line is a process of its own, all in one run. `numpy.fromfile` of the same records is the floor. The
libraries answer the central question only: of each thread and address the traps, the early returns, the loops
(without the conditions of sldtrace's rule), and sum, p50 and p99 of the sleep. Polars and DuckDB are left out
where they are not installed. The recording is five simulated seconds, repeated with
later times until it has --records records.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sldtrace.engine.fold import Batch, Fold
from sldtrace.engine.keys import Keys, joined
from sldtrace.engine.quantiles import Quantiles
from sldtrace.engine.slices import slices
from sldtrace.engine.tables import Array, Table
from sldtrace.engine.traps import Outcome
from sldtrace.model import early_returns, records, simulation
from sldtrace.model import penalty as penalties
from sldtrace.model.records import ThreadIdentity
from sldtrace.model.simulation import START_NS, SimulationOptions
from sldtrace.model.simulator import Scene, Simulator, Vcpu
from sldtrace.model.sources import Kind, Source
from sldtrace.model.thread import Costs
from sldtrace.recording import schema
from sldtrace.recording.layout import Records
from sldtrace.recording.reader import open_recording
from sldtrace.recording.writer import Writer

MS = 1_000_000
_SIMULATED_NS = 5_000 * MS
_TURN_NS = 500 * MS  # the recorder writes everything to the file every 600 ms
_TURNS = _SIMULATED_NS // _TURN_NS


def recording(path: Path, kind: str, count: int, vcpus: int, number: int = 1) -> None:
    """Writes at least `count` records, all of them livelocks of a 1 ms timer.

    kind: "trap": nearly all of them are traps; "exit": VM exits, with 50 exits to each trap; "mix": traps,
    exits, returns to the VMM, signals and moves to other CPUs. number: of the recording.
    """
    source, costs = Source(Kind.REARMED, MS, 3_000), Costs()
    moves = 40 * MS if kind == "mix" else 0
    scene = Scene(
        penalties.for_kernel("6.12", 4 * MS),
        [Vcpu(source, costs, index, moves) for index in range(vcpus)],
        list(range(vcpus)),
        start_ns=START_NS,
    )
    identity = ThreadIdentity(exits=kind != "trap")
    order = SimulationOptions(path, scene, identity, "6.12", _SIMULATED_NS, {"benchmark": kind})
    played = [
        records.from_batch(batch, scene, identity)
        for batch in Simulator(scene).run(_SIMULATED_NS, _SIMULATED_NS)
    ]
    whole = {name: np.concatenate([each[name] for each in played]) for name in played[0]}
    if kind == "exit":
        whole["exit"] = _more(whole["exit"], 50)
    if kind != "mix":
        whole.pop("signal")
    with Writer(path, simulation.facts(order), recording_id=number, compress=False) as writer:
        writer.append("task", records.tasks(vcpus, identity, START_NS))
        turn = 0
        while sum(writer.written.values()) < count:
            for parts in _turns(whole, turn * _SIMULATED_NS):
                for name, rows in parts.items():
                    writer.append(name, rows)
                writer.flush()
            turn += 1
        clock = {"monotonic_ns": START_NS + turn * _SIMULATED_NS, "realtime_ns": simulation.REALTIME_NS}
        writer.close({"ended_by": "duration", "clock": clock, "seen": dict(writer.written)})


# As the recorder writes them: those of all kinds of a turn, then those of the next one.
def _turns(whole: dict[str, Records], moved_ns: int) -> Iterator[dict[str, Records]]:
    moved: dict[str, Records] = {}
    ends: dict[str, Any] = {}
    for name, rows in whole.items():
        later = moved[name] = rows.copy()
        times = rows[schema.current().records[name].time_field].astype(np.int64) - START_NS
        turn = np.maximum.accumulate(np.clip(times // _TURN_NS, 0, _TURNS - 1))
        ends[name] = np.searchsorted(turn, range(_TURNS + 1))
        for each in {"ns", "start_ns", "end_ns", "signal_ns"} & set(rows.dtype.names or ()):
            later[each] += np.where(rows[each] > 0, np.uint64(moved_ns), np.uint64(0))
    for number in range(_TURNS):
        yield {name: rows[ends[name][number] : ends[name][number + 1]] for name, rows in moved.items()}


def _more(exits: Records, times: int) -> Records:
    more = np.repeat(exits, times)
    more["ns"] += np.tile(np.arange(times, dtype=np.uint64), len(exits))
    reasons = np.tile(np.arange(times) % 7, len(exits))
    first = np.tile(np.arange(times) == 0, len(exits))
    more["reason"] = np.where(first, more["reason"], np.array([1, 7, 10, 12, 28, 30, 48])[reasons])
    more["intr_info"] = np.where(first, more["intr_info"], 0)
    more["rip"] = np.where(first, more["rip"], 0xFFFF_FFFF_8100_0000 + 16 * reasons.astype(np.uint64))
    return more


# What is measured: each in a process of its own.


def _analysis(path: Path) -> None:
    from sldtrace.analyzers import threads
    from sldtrace.analyzers.findings import catalogue
    from sldtrace.dataset import trace as traces
    from sldtrace.reporters import report
    from sldtrace.reporters.formats import FORMATS
    from sldtrace.reporters.style import Style

    recorded = traces.load(path)
    findings, not_evaluated = catalogue.run(recorded), catalogue.not_evaluated(recorded)
    table = threads.summarize(recorded, findings)
    content = report.build(recorded, findings, table, not_evaluated)
    for name in ("text", "json"):
        FORMATS[name].render(content, Style(80))


class Central:
    """The central question as a summary of the engine: memory does not grow with the traps.

    counts: of each thread and address, in order of appearance, traps, early returns, loops and time slept.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"trap"})

    def __init__(self) -> None:
        self._rips, self._groups = Keys(1 << 20), Keys(1 << 20)
        self._counts = Table((np.int64, (4,)))
        self._slept = Quantiles()

    def update(self, batch: Batch) -> None:
        """Adds the next batch."""
        traps = batch.traps
        if not len(traps):
            return
        rip, early, slept = traps["rip"], _signal_ended(traps), traps["sleep_ns"]
        begins = early & ~traps.before(early, _signal_ended(traps.last))
        starts = rip[1:] != rip[:-1]
        starts |= traps.thread[1:] != traps.thread[:-1]
        heads = np.flatnonzero(np.append(True, starts))
        group = self._groups.numbers(joined(traps.thread[heads], self._rips.numbers(rip[heads])))
        lengths = np.diff(heads, append=len(traps))
        counts = self.counts
        np.add.at(counts[:, 0], group, lengths)
        for column, values in enumerate((early, begins, slept), 1):
            np.add.at(counts[:, column], group, np.add.reduceat(values, heads, dtype=np.int64))
        self._slept.add(np.repeat(group, lengths), slept)

    @property
    def counts(self) -> Array:
        """One row a group."""
        return self._counts.upto(len(self._groups))

    def quantiles(self) -> list[list[float]]:
        """The median and the 99th percentile of the time slept, by group."""
        return [self._slept.of(group, [0.5, 0.99]) for group in range(len(self._groups))]


def _signal_ended(traps: Outcome) -> early_returns.Bools:
    return early_returns.signal_ended({name: traps[name] for name in ("sleep_left_ms", "semaphore_result")})


def _central(path: Path) -> int:
    with open_recording(path) as opened:
        central = Central()
        Fold([central]).run(slices(opened, central.kinds))
    return len(central.quantiles())


_BY = ["tgid", "tid", "rip"]
_THREAD = ["tgid", "tid"]


# The columns of the traps for the central question, each by itself in memory.
def _columns(path: Path) -> dict[str, Any]:
    traps = np.fromfile(path.with_suffix(".traps"), schema.current().records["trap"].dtype)
    columns = {name: np.ascontiguousarray(traps[name]) for name in [*_BY, "sleep_ns"]}
    return columns | {"early": early_returns.signal_ended(traps)}


def _pandas(path: Path) -> int:
    import pandas as pd

    frame = pd.DataFrame(_columns(path))
    before = frame.groupby(_THREAD)["early"].shift(fill_value=False)
    groups = frame.assign(begins=frame["early"] & ~before).groupby(_BY)
    found = [groups.size(), groups["early"].sum(), groups["begins"].sum(), groups["sleep_ns"].sum()]
    found += [groups["sleep_ns"].quantile(share) for share in (0.5, 0.99)]
    return len(pd.concat(found, axis=1))


def _polars(path: Path) -> int:
    import polars as pl

    early, slept = pl.col("early"), pl.col("sleep_ns")
    before = early.shift(1).over(_THREAD).fill_null(False)
    frame = pl.DataFrame(_columns(path)).lazy().with_columns(begins=early & ~before)
    found = frame.group_by(_BY).agg(
        pl.len().alias("traps"),
        early.sum().alias("early_returns"),
        pl.col("begins").sum().alias("loops"),
        slept.sum().alias("slept"),
        slept.quantile(0.5).alias("p50"),
        slept.quantile(0.99).alias("p99"),
    )
    return len(found.collect())


def _duckdb(path: Path) -> int:
    import duckdb
    import pandas as pd

    connection = duckdb.connect()
    connection.register("traps", pd.DataFrame(_columns(path)))
    question = """
        SELECT tgid, tid, rip, count(*), sum(early::INT), sum((early AND NOT before)::INT), sum(sleep_ns),
               quantile_cont(sleep_ns, [0.5, 0.99])
        FROM (SELECT *, lag(early, 1, false) OVER (PARTITION BY tgid, tid) AS before FROM traps)
        GROUP BY tgid, tid, rip"""
    return len(connection.execute(question).fetchall())


def _fromfile(path: Path) -> int:
    return int(np.fromfile(path.with_suffix(".raw"), np.uint64).sum())


_FLOOR = "numpy.fromfile, sum"
_ACTIONS: dict[str, Callable[[Path], object]] = {
    "sldtrace, complete, text and JSON": _analysis,
    "the same, compressed": lambda path: _analysis(path.with_suffix(".packed")),
    "sldtrace, central question": _central,
    "pandas, central question": _pandas,
    "Polars, central question": _polars,
    "DuckDB, central question": _duckdb,
    _FLOOR: _fromfile,
}
_SLDTRACE = tuple(
    f"sldtrace.{each}"
    for each in ("analyzers.threads", "analyzers.findings.catalogue", "reporters.report", "reporters.formats")
)
# What each loads first, which is not measured.
_IMPORTS = {
    "sldtrace": _SLDTRACE,
    "the same": _SLDTRACE,
    "pandas": ("pandas",),
    "Polars": ("polars",),
    "DuckDB": ("duckdb", "pandas"),
    "numpy.fromfile": (),
}
_OPTIONAL = {"Polars, central question": "polars", "DuckDB, central question": "duckdb"}


def measured(name: str, path: Path, runs: int) -> dict[str, float]:
    """Seconds of CPU, without imports, and peak resident MiB of a process that does this: medians."""
    command = [sys.executable, __file__, "--child", name, str(path)]
    found = []
    for _ in range(runs):
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: statistics.median(each[key] for each in found) for key in ("cpu_s", "mib")}


def measured_here(name: str, path: Path) -> dict[str, float]:
    """The same of this process."""
    for module in _IMPORTS[name.split(",")[0]]:
        import_module(module)
    begun = os.times()
    _ACTIONS[name](path)
    used = os.times()
    # Not ru_maxrss: what this process was before execve counts there as well.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak
    return {
        "cpu_s": used.user + used.system - begun.user - begun.system,
        "mib": int(peak[1]) / 1024,
    }


def main() -> None:
    """Prints a table for each kind of recording."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--vcpus", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kind", choices=["trap", "exit", "mix"], action="append")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured_here(options.child[0], Path(options.child[1]))))
        return
    for kind in options.kind or ["trap", "exit", "mix"]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.sld"
            recording(path, kind, options.records, options.vcpus)
            _print(kind, path, options.runs)


def _print(kind: str, path: Path, runs: int) -> None:
    _write_others(path)
    with open_recording(path) as opened:
        counts = {name: count for name, count in opened.counts.items() if count}
    total = sum(counts.values())
    print(f"{kind}: {', '.join(f'{count:,} {name}' for name, count in counts.items())}", end="; ")
    packed = path.with_suffix(".packed").stat().st_size
    print(f"{path.stat().st_size >> 20:,} MiB, compressed {packed >> 20:,} MiB")
    chosen = [name for name in _ACTIONS if find_spec(_OPTIONAL.get(name, "numpy")) is not None]
    found = {name: measured(name, path, runs) for name in chosen}
    floor = found[_FLOOR]["cpu_s"]
    print(f"{'':34}{'records/s':>12}{'CPU':>9}{'x fromfile':>12}{'peak':>12}")
    for name, each in found.items():
        cpu = each["cpu_s"]
        rate = (total if "central" not in name else counts["trap"]) / cpu
        print(f"{name:34}{rate:12,.0f}{cpu:7.2f} s{cpu / floor:12.1f}{each['mib']:8,.0f} MiB")


# The same records without any format: all of them, and the traps; and the recording, compressed.
def _write_others(path: Path) -> None:
    with (
        open_recording(path) as opened,
        path.with_suffix(".raw").open("wb") as raw,
        path.with_suffix(".traps").open("wb") as traps,
        Writer(path.with_suffix(".packed"), opened.facts, recording_id=1, compress=True) as packed,
    ):
        for kind, rows in opened.chunks():
            raw.write(rows.tobytes())
            if kind == "trap":
                traps.write(rows.tobytes())
            packed.append(kind, rows)
            packed.flush()
        packed.close(opened.closing or {})


if __name__ == "__main__":
    main()
