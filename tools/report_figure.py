"""Makes docs/figure/report.svg, a report as a terminal shows it: python -m tools.report_figure."""

import os
import pty
import re
import subprocess
import sys
from html import escape
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
FIGURE = _ROOT / "docs" / "figure" / "report.svg"
RECORDING = _ROOT / "tests" / "reporters" / "recordings" / "lab-early-return-loop.sld"

_COMMAND = "sldtrace report --brief incident.sld"
_COLUMNS = 100
_CELL = (8, 17)  # px: width and height of a character
_MARGIN = 16  # px
_COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#76e3ea"}  # by SGR code
_SGR = re.compile(r"\x1b\[([\d;]*)m")


def printed(recording: Path) -> str:
    """What `sldtrace report --brief` prints on a terminal of 100 columns, with colour."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sldtrace", "report", "--no-pager", "--brief", str(recording)],
        stdout=theirs,
        cwd=_ROOT,
        env={**environment, "COLUMNS": str(_COLUMNS), "LINES": "24", "TERM": "xterm"},
    )
    os.close(theirs)
    text = b""
    # A terminal whose other end is closed is read with EIO.
    try:
        while more := os.read(ours, 65536):
            text += more
    except OSError:
        pass
    os.close(ours)
    if status := process.wait():
        raise RuntimeError(f"sldtrace report ended with status {status}")
    return text.decode().replace("\r\n", "\n")


def lines(text: str) -> list[str]:
    """The command, and the lines that it prints."""
    return [f"\x1b[1m$ {_COMMAND}\x1b[0m", *text.splitlines()]


def spans(line: str) -> list[tuple[int, str, list[str]]]:
    """The parts of a line of one colour each: column, text, SGR codes."""
    found, column, codes, at = [], 0, list[str](), 0
    for match in [*_SGR.finditer(line), None]:
        part = line[at : match.start() if match else None]
        if part.strip():
            found.append((column, part, codes))
        column += len(part)
        if match:
            codes = [code for code in match[1].split(";") if code not in ("", "0")]
            at = match.end()
    return found


def svg(lines: list[str]) -> str:
    """The lines as a picture of a terminal."""
    columns = max(len(_SGR.sub("", line)) for line in lines)
    width, height = columns * _CELL[0] + 2 * _MARGIN, len(lines) * _CELL[1] + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-size="13"'
        ' font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace">',
        "<!-- made by python -m tools.report_figure: do not edit -->",
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>',
    ]
    for row, line in enumerate(lines):
        y = _MARGIN + row * _CELL[1] + 13
        for column, text, codes in spans(line):
            # Each word group has its place and its width: fonts differ.
            indent = len(text) - len(text.lstrip())
            shown = text.strip()
            x, length = _MARGIN + (column + indent) * _CELL[0], len(shown) * _CELL[0]
            colour = next((_COLOURS[code] for code in codes if code in _COLOURS), "#e6edf3")
            weight = ' font-weight="bold"' if "1" in codes else ""
            parts.append(
                f'<text x="{x}" y="{y}" textLength="{length}" lengthAdjust="spacingAndGlyphs"'
                f' fill="{colour}"{weight} xml:space="preserve">{escape(shown)}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    FIGURE.write_text(svg(lines(printed(RECORDING))))
