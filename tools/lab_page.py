"""Makes the table of kernels in docs/lab.md from lab/kernel.py: python -m tools.lab_page."""

from collections.abc import Iterable
from pathlib import Path

from lab.kernel import DEFAULT, KERNELS, Kernel
from tools.format_page import filled, table, write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lab.md"
BEGIN = "<!-- made by python -m tools.lab_page from lab/kernel.py: do not edit -->"
_HEAD = ["`--kernel`", "Debian", "HZ", "penalty", "no progress up to", "progress from", "behaves like"]


def kernels(rows: Iterable[Kernel]) -> str:
    """The Markdown between the markers."""
    return "\n".join(table(_HEAD, [_row(kernel) for kernel in rows])) + "\n"


def _row(kernel: Kernel) -> list[str]:
    shortest, longest = kernel.penalty_ms
    return [
        f"`{kernel.name}`" + (" (default)" if kernel.name == DEFAULT else ""),
        kernel.suite,
        str(kernel.hz),
        f"{kernel.sleep_jiffies} jiffies: {shortest} to {longest} ms",
        f"{kernel.no_progress_ms} ms",
        f"{kernel.progress_ms} ms",
        kernel.generation,
    ]


def updated(page: str) -> str:
    """The page with a fresh table; raises SldtraceError when it lacks the markers."""
    return filled(page, BEGIN, kernels(KERNELS.values()))


if __name__ == "__main__":
    write(PAGE, updated)
