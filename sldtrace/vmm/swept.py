"""A sweep that is over: which guest, on which host, and the points; as JSON and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sldtrace.errors import SldtraceError
from sldtrace.host import kernel, split_lock
from sldtrace.vmm.kicks import Kind
from sldtrace.vmm.plan import Plan


@dataclass(frozen=True, slots=True)
class Point:
    """The guest's progress with one timeout. Times are nanoseconds."""

    mitigate: int | None  # kernel.split_lock_mitigate in the run; None: no such sysctl
    timeout_ns: int
    loops: int
    kvm_runs: int
    eintr: int
    ran_ns: int

    @property
    def rate(self) -> float:
        """Loops a second."""
        return self.loops / self.ran_ns * 1e9 if self.ran_ns else 0.0


@dataclass(frozen=True)
class Sweep:
    """The points in the order of measurement, and the host.

    splits: the guest takes split locks; every: N of a guest that does something once in N loops, else 0;
    mode: as host.split_lock.SplitLock has it; whole: False if a signal ended it early.
    """

    guest: str
    splits: bool
    every: int
    kick: Kind
    duration_ns: int
    release: str
    tick_ns: int
    cpu: str
    mode: str
    whole: bool
    points: tuple[Point, ...]

    @classmethod
    def of_this_host(cls, plan: Plan, points: Sequence[Point], whole: bool) -> "Sweep":
        """A sweep that was measured on this host."""
        return cls(
            guest=plan.guest.name,
            splits=plan.guest.crosses_line,
            every=plan.guest.every,
            kick=plan.kick,
            duration_ns=plan.duration_ns,
            release=kernel.release(),
            tick_ns=kernel.tick_ns(),
            cpu=split_lock.cpu_fields(Path("/proc/cpuinfo").read_text(errors="replace")).get(
                "model name", ""
            ),
            mode=split_lock.read().mode,
            whole=whole,
            points=tuple(points),
        )

    @property
    def settings(self) -> list[int | None]:
        """The values of the sysctl in the points, in their order."""
        return list(dict.fromkeys(point.mitigate for point in self.points))

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `parse` makes the same sweep."""
        return asdict(self)


def load(path: Path) -> Sweep:
    """The sweep in a file with output of `guest sweep --format json`. Raises SldtraceError, with one line."""
    try:
        return parse(json.loads(path.read_text()))
    except OSError as error:
        raise SldtraceError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SldtraceError(
            f"{path} is not a sweep", "give the output of sldtrace guest sweep --format json"
        ) from error


def parse(content: Mapping[str, Any]) -> Sweep:
    """The sweep in such JSON; raises ValueError, TypeError or KeyError if it is not one."""
    points = tuple(
        Point(**{each.name: one[each.name] for each in fields(Point)}) for one in content["points"]
    )
    known = {each.name: content[each.name] for each in fields(Sweep)}
    sweep = Sweep(**{**known, "kick": Kind(content["kick"]), "points": points})
    numbers = [sweep.duration_ns, sweep.tick_ns, sweep.every]
    for point in points:
        numbers += [
            point.timeout_ns,
            point.loops,
            point.kvm_runs,
            point.eintr,
            point.ran_ns,
            point.mitigate or 0,
        ]
    texts = (sweep.guest, sweep.release, sweep.cpu, sweep.mode)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is not a string")
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise TypeError("a number is not valid")
    times = [time for point in points for time in (point.timeout_ns, point.ran_ns)]
    if not (100_000 <= sweep.tick_ns <= 100_000_000 and points and all(times)):
        raise ValueError("a time is not valid")
    return sweep
