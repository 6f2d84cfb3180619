"""The table and the verdict as text, at most 100 columns wide."""

from collections.abc import Sequence

from benchmarks.observers.outcome import Cost, Outcome
from benchmarks.observers.verdict import Check
from sldtrace.reporters.tables import table

# Guests of which the table has the added instructions beside the progress.
_PAIRS = ("cpuid", "io")


def render(outcome: Outcome, checks: Sequence[Check]) -> str:
    """Table, legend, and one line for each check."""
    guests = list(outcome.drift)
    rows = []
    for row in outcome.rows:
        cells = {"observer": row.observer.name, "job": row.observer.job}
        for name in guests:
            cells |= _cells(name, row.costs.get(name))
        size = row.bytes_per_event
        rows.append(cells | {"B/event": f"{size:,.0f}" if size else "-"})
    alone = ", ".join(f"{name} {pair:,.0f}" for name, pair in outcome.alone.items() if name in _PAIRS)
    legend = (
        f"Linux {outcome.kernel}, 1 CPU. Progress of each guest, in % of what it makes alone\n"
        "(livelock: rate of KVM_RUN returns with EINTR; later: cpuid again, after the guests that\n"
        f"trap). +: instructions added to an exit-entry pair. Alone, a pair has {alone}."
    )
    lines = [f"{'holds' if check.holds else 'FAILS'}  {check.text}" for check in checks]
    return "\n\n".join([legend, table(rows, numbers=True), "\n".join(lines)])


def _cells(name: str, cost: Cost | None) -> dict[str, str]:
    cells = {name: f"{cost.ratio * 100:.1f}" if cost else "-"}
    if name in _PAIRS:
        cells[f"{name}+"] = f"{cost.added:,.0f}" if cost and cost.added is not None else "-"
    return cells
