"""Numbers and times in words, the same in every report."""

import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sldtrace.escape import escape

if TYPE_CHECKING:
    from sldtrace.reporters.style import Style
    from sldtrace.trace import Subject, Trace

SIMULATED = "SIMULATED: made by sldtrace simulate, not recorded on any host"
"""The first line of every report of such a recording."""


_TAIL_NS = 2_000_000_000  # the beginning and the end of a recording, in which its cost is never measured


def length(ns: int) -> str:
    """A length of time with three significant digits: 5.76 us, 972 us, 12 ms, 1.98 s, 205 s."""
    for unit, size in (("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)):
        if abs(ns) < 999.5 * size or unit == "s":
            value = ns / size
            break
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"


def moment(trace: "Trace", monotonic_ns: int, date: bool = True) -> str:
    """Wall time in UTC with milliseconds; the seconds of CLOCK_MONOTONIC where the facts are lost."""
    wall = trace.wall_ns(monotonic_ns)
    if wall is None:
        return f"{monotonic_ns / 1e9:.3f} s of the host's clock"
    return utc(wall, date)


def utc(wall_ns: int, date: bool = True) -> str:
    """ns since 1970 as a date and time in UTC with milliseconds."""
    when = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return when.strftime("%Y-%m-%d %H:%M:%S." if date else "%H:%M:%S.") + f"{when.microsecond // 1000:03} UTC"


def thread(who: "Subject") -> str:
    """`VM web01 (qemu, PID 182, TID 183)`; `python3 (PID 182)` of no known VM. The TID only if it differs."""
    which = f"PID {who.tgid}" if who.tid == who.tgid else f"PID {who.tgid}, TID {who.tid}"
    if who.vm:
        return f"VM {who.vm} ({who.vmm or who.process or 'unknown VMM'}, {which})"
    return f"{who.process or 'a process'} ({which})"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 trap`, `2,000 traps`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(part: float, whole: float) -> str:
    """A share: `0.46 %`, `99.8 %`; `0 %` of nothing."""
    share = 100 * part / whole if whole else 0
    digits = 1 if share >= 10 else 2 if share >= 0.1 else 4
    text = f"{share:.{digits}f}".rstrip("0").rstrip(".")
    return f"{text} %"


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
    """The closing fact `cost` in words; empty where it is not one (facts are what somebody wrote)."""
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
            text += f" (measured for {measured / 1e9:.0f} s, then reckoned by exits)"
    return f"{text}; {memory / (1 << 20):.0f} MiB of memory"


def _is_amount(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def fill(text: str, style: "Style") -> str:
    """The text as a paragraph of the report, indented by two."""
    return textwrap.fill(text, style.width, initial_indent="  ", subsequent_indent="  ")
