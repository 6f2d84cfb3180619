"""Amounts and addresses in words, the same in findings and in every report."""

from decimal import Decimal


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
    digits = 1 if abs(share) >= 10 else 2 if abs(share) >= 0.1 else 4
    text = f"{share:.{digits}f}".rstrip("0").rstrip(".")
    return f"{text} %"


def rate(per_s: float) -> str:
    """Events a second: `8.4`, `83`, `12,000`."""
    return f"{per_s:,.0f}" if per_s >= 100 or per_s == round(per_s) else f"{per_s:,.1f}"


def ms(ns: int) -> str:
    """Milliseconds without their unit, three digits or more: `0.95`, `12`, `1,250`."""
    value = ns / 1e6
    return f"{value:,.0f}" if abs(value) >= 999.5 else significant(value, 3)


def significant(value: float, digits: int) -> str:
    """A number with at most `digits` significant digits, without an exponent: `0.00005`, `12`, `2000000`."""
    text = f"{Decimal(f'{value:.{digits - 1}e}'):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def address(value: int) -> str:
    """An address in memory: `0x7c40`."""
    return f"{value:#x}"
