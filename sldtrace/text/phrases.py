"""Amounts and names in words, the same in findings and in every report."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sldtrace.dataset.trace import Subject


def length(ns: int) -> str:
    """A length of time with three significant digits: 5.76 us, 972 us, 12 ms, 1.98 s, 205 s."""
    for unit, size in (("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)):
        if abs(ns) < 999.5 * size or unit == "s":
            value = ns / size
            break
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 trap`, `2,000 traps`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(part: float, whole: float) -> str:
    """A share: `0.46 %`, `99.8 %`; `0 %` of nothing."""
    share = 100 * part / whole if whole else 0
    digits = 1 if share >= 10 else 2 if share >= 0.1 else 4
    text = f"{share:.{digits}f}".rstrip("0").rstrip(".")
    return f"{text} %"


def thread(who: "Subject") -> str:
    """`VM web01 (qemu, PID 182, TID 183)`; `python3 (PID 182)` of no known VM. The TID only if it differs."""
    which = f"PID {who.tgid}" if who.tid == who.tgid else f"PID {who.tgid}, TID {who.tid}"
    if who.vm:
        return f"VM {who.vm} ({who.vmm or who.process or 'unknown VMM'}, {which})"
    return f"{who.process or 'a process'} ({which})"


def rate(per_s: float) -> str:
    """Events a second: `8.4`, `83`, `12,000`."""
    return f"{per_s:,.0f}" if per_s >= 100 or per_s == round(per_s) else f"{per_s:,.1f}"


def ms(ns: int) -> str:
    """Milliseconds without their unit, three digits: `0.95`, `12`."""
    return f"{ns / 1e6:.3g}"
