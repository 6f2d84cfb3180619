"""Makes the table of timers in docs/the-bug.md from the model of the penalty: python -m tools.limits_page."""

from collections.abc import Iterator

from sldtrace.model import penalty
from sldtrace.text.phrases import ms
from tools import format_page

PAGE = format_page.PAGE.with_name("the-bug.md")
BEGIN = "<!-- made by python -m tools.limits_page from sldtrace/model/penalty.py: do not edit -->"
_HEAD = [
    "kernel",
    "HZ",
    "sleep",
    "each penalty ends early, signals less than",
    "each completes, signals more than",
]
_KERNELS = {"5.19 to 6.11": "5.19", "6.12 and later": "6.12"}
_HZ = (100, 250, 300, 1000)


def rows() -> Iterator[list[str]]:
    """One row for each length of the sleep and of a jiffy."""
    for name, release in _KERNELS.items():
        for hz in _HZ:
            of = penalty.for_kernel(release, 10**9 // hz)
            early = f"{ms(of.always_early_below_ns)} ms apart" if of.always_early_below_ns else "never"
            lasts = f"{ms(of.shortest_sleep_ns)} to {ms(of.longest_sleep_ns)} ms"
            yield [name, str(hz), lasts, early, f"{ms(of.always_completes_above_ns)} ms apart"]


def updated(page: str) -> str:
    """The page with a fresh table; raises SldtraceError when it lacks the markers."""
    return format_page.filled(page, BEGIN, "\n".join(format_page.table(_HEAD, list(rows()))) + "\n")


if __name__ == "__main__":
    format_page.write(PAGE, updated)
