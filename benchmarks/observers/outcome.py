"""The numbers of one run: progress against the guest alone, instructions added to a VM exit, bytes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.observers.plan import Plan
from benchmarks.observers.table import INSTRUCTIONS_PER_SECOND, GuestRun, Observer


@dataclass(frozen=True)
class Cost:
    """What one observer costs one guest.

    ratio: progress (loops, or EINTR returns, each for its time) against the guest alone, 1 is the same. pair:
    instructions of an exit-entry pair with the observer, and added: those that are its; None for guests that
    are not measured by their exits. loops: that the guest finished.
    """

    ratio: float
    pair: float | None
    added: float | None
    loops: int


@dataclass(frozen=True)
class Row:
    """One observer: what it costs each guest, by name; how long it took to attach, in machine seconds.

    bytes_per_event: of its file, an event being a VM exit or entry, or a trap for one that looks at traps
    only; None without a file. failed: one line, when it could not be measured.
    """

    observer: Observer
    costs: Mapping[str, Cost]
    attach_s: float = 0.0
    bytes_per_event: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class Outcome:
    """All of one boot. alone: instructions of a pair, by guest; drift: how far the two runs of a guest
    alone are apart, in parts of one, by guest."""

    kernel: str
    alone: Mapping[str, float]
    drift: Mapping[str, float]
    rows: list[Row]

    def row(self, name: str) -> Row | None:
        """The row of that observer, when it was asked for."""
        return next((row for row in self.rows if row.observer.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """JSON values: of each row the observer's name, job and command, and the costs."""
        return {
            "kernel": self.kernel,
            "instructions_per_second": INSTRUCTIONS_PER_SECOND,
            "pair_alone": dict(self.alone),
            "drift": dict(self.drift),
            "observers": [
                {
                    "name": row.observer.name,
                    "job": row.observer.job,
                    "command": list(row.observer.command),
                    "guests": {name: asdict(cost) for name, cost in row.costs.items()},
                    "attach_s": row.attach_s,
                    "bytes_per_event": row.bytes_per_event,
                    "failed": row.failed,
                }
                for row in self.rows
            ],
        }


def of(plan: Plan, measured: Mapping[str, Any]) -> Outcome:
    """The numbers of what benchmarks/observers/inside.py wrote."""
    first, again = measured["untraced"]
    rates = {run.name: (_rate(run, first[run.name]), _rate(run, again[run.name])) for run in plan.guests}
    # No progress and no EINTR at all would make every ratio meaningless.
    for name, pair in rates.items():
        if not min(pair):
            raise ValueError(f"guest {name} made no progress without an observer")
    alone = {name: (one + two) / 2 for name, (one, two) in rates.items()}
    return Outcome(
        kernel=measured["kernel"],
        alone={r.name: INSTRUCTIONS_PER_SECOND / alone[r.name] for r in plan.guests if r.measures == "loops"},
        drift={name: abs(one - two) / alone[name] for name, (one, two) in rates.items()},
        rows=[_row(plan, one, measured["observers"][one.name], alone) for one in plan.observers],
    )


def _row(plan: Plan, observer: Observer, found: Mapping[str, Any], alone: Mapping[str, float]) -> Row:
    runs = {run.name: run for run in plan.guests}
    costs = {name: _cost(runs[name], counted, alone[name]) for name, counted in found["guests"].items()}
    # Its file also has what it wrote during the first run, which is not measured.
    both = (*found["guests"].items(), *found.get("first", {}).items())
    events = sum(_events(observer, runs[name], counted) for name, counted in both)
    written = found.get("written", 0) if observer.writes else 0
    return Row(
        observer,
        costs,
        found.get("attach_s", 0.0),
        written / events if written and events else None,
        found.get("failed", ""),
    )


def _cost(run: GuestRun, counted: Mapping[str, int], alone: float) -> Cost:
    rate = _rate(run, counted)
    if run.measures != "loops" or not rate:
        return Cost(rate / alone, None, None, counted["loops"])
    pair = INSTRUCTIONS_PER_SECOND / rate
    return Cost(rate / alone, pair, pair - INSTRUCTIONS_PER_SECOND / alone, counted["loops"])


# Per second of the machine.
def _rate(run: GuestRun, counted: Mapping[str, int]) -> float:
    return counted["eintr" if run.measures == "eintr" else "loops"] * 1e9 / counted["ran_ns"]


def _events(observer: Observer, run: GuestRun, counted: Mapping[str, int]) -> int:
    if observer.job in ("stays", "traps"):
        # Each trap of these guests ends with the signal that ends KVM_RUN.
        return 0 if run.measures == "loops" else counted["eintr"]
    return 2 * (counted["loops"] if run.measures == "loops" else counted["kvm_runs"])
