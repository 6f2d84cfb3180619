"""What one boot is to measure, and its way into the machine as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.observers.table import GuestRun, Observer, Ready


@dataclass(frozen=True)
class Plan:
    """Guests and observers, in the order in which they run."""

    guests: Sequence[GuestRun]
    observers: Sequence[Observer]

    def runs_for(self, observer: Observer) -> list[GuestRun]:
        """The guests that this observer is measured with."""
        return [run for run in self.guests if not observer.split_locks or run.measures != "loops"]


def text(plan: Plan) -> str:
    """The plan as JSON."""
    return json.dumps(
        {"guests": [asdict(one) for one in plan.guests], "observers": [asdict(one) for one in plan.observers]}
    )


def read(text: str) -> Plan:
    """The plan of such a JSON text."""
    given = json.loads(text)
    observers = [
        Observer(**{**one, "command": tuple(one["command"]), "ready": Ready(**one["ready"])})
        for one in given["observers"]
    ]
    return Plan([GuestRun(**one) for one in given["guests"]], observers)
