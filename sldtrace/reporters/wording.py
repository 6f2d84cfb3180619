"""Numbers and times in words, the same in every report."""

from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING, Any

from sldtrace.dataset.subject import process, thread
from sldtrace.text.escape import escape
from sldtrace.text.phrases import length, percent, plural

if TYPE_CHECKING:
    from sldtrace.dataset.trace import Trace

__all__ = [
    "SIMULATED",
    "cost",
    "host",
    "length",
    "moment",
    "moment_since",
    "percent",
    "plural",
    "process",
    "thread",
    "time_of_day",
    "utc",
]

SIMULATED = "SIMULATED: made by sldtrace simulate, not recorded on any host"
"""The first line of every report of such a recording."""


SPLIT_LOCK = (
    "A split lock is a locked instruction whose data crosses a cache line (64 bytes). It slows down memory "
    "for the whole host, so the kernel traps it and delays its thread: the penalty."
)
"""What a report is about, for a reader who does not know."""

_TAIL_NS = 2_000_000_000  # the beginning and the end of a recording, in which its cost is never measured


def moment(trace: "Trace", monotonic_ns: int, date: bool = True) -> str:
    """Wall time with milliseconds and its zone; the seconds of CLOCK_MONOTONIC where the facts are lost."""
    wall = trace.wall_ns(monotonic_ns)
    if wall is None:
        return f"{monotonic_ns / 1e9:.3f} s of the host's clock"
    when = _moment(wall, trace.zone)
    return f"{_written(when, date)} {when.tzname()}"


def moment_since(trace: "Trace", since_ns: int, monotonic_ns: int) -> str:
    """A moment after one that is named beside it: with a date only if that is another one."""
    walls = trace.wall_ns(since_ns), trace.wall_ns(monotonic_ns)
    days = {_moment(wall, trace.zone).date() for wall in walls if wall is not None}
    return moment(trace, monotonic_ns, date=len(days) > 1)


def time_of_day(trace: "Trace", monotonic_ns: int) -> str:
    """The same without date and zone."""
    wall = trace.wall_ns(monotonic_ns)
    return f"{monotonic_ns / 1e9:.3f} s" if wall is None else _written(_moment(wall, trace.zone), date=False)


def utc(wall_ns: int, date: bool = True) -> str:
    """ns since 1970 as a date and time in UTC with milliseconds."""
    return f"{_written(_moment(wall_ns, timezone.utc), date)} UTC"


# zone None: that of this machine.
def _moment(wall_ns: int, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(wall_ns / 1e9, timezone.utc).astimezone(zone)


def _written(when: datetime, date: bool) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S." if date else "%H:%M:%S.") + f"{when.microsecond // 1000:03}"


def host(trace: "Trace") -> list[str]:
    """The recorded host in two lines: kernel and CPU, and what it does about split locks."""
    tick = trace.number("kernel", "tick_ns")
    hz = f"HZ={round(1e9 / tick)}" if tick else "HZ unknown"
    mitigate = trace.number("split_lock", "mitigate")
    sysctl = "no kernel.split_lock_mitigate" if mitigate is None else f"kernel.split_lock_mitigate={mitigate}"
    at_end = trace.closing("split_lock", "mitigate")
    if at_end not in (None, mitigate):
        sysctl += f", {at_end} at the end of the recording"
    release = trace.text("kernel", "release", otherwise="of unknown version")
    cpu = trace.text("cpu", "model", otherwise="CPU")
    return [
        escape(f"Linux {release}, {hz}, {cpu}"),
        escape(f"split_lock_detect={trace.text('split_lock', 'mode', otherwise='?')}, {sysctl}"),
    ]


def cost(fact: Any) -> str:
    """The closing fact `cost` in words; empty where it is malformed: a file may hold anything."""
    names = ("elapsed_ns", "recorder_cpu_ns", "measured_ns", "memory_bytes")
    if not isinstance(fact, dict) or not all(_is_amount(fact.get(name)) for name in names):
        return ""
    elapsed, own, measured, memory = (fact[name] for name in names)
    text = f"the recorder {percent(own, elapsed)} of a CPU"
    if not _is_amount(fact.get("probes_ns")):
        text += ", the probes could not be timed"
    else:
        text += f", its probes {percent(fact['probes_ns'], elapsed)}"
        if elapsed - measured > _TAIL_NS:
            text += f" (measured for {measured / 1e9:.0f} s, then estimated from exits)"
    return f"{text}; {memory / (1 << 20):.0f} MiB of memory"


def _is_amount(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
