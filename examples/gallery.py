"""Makes a gallery of recordings: each as a page and as a trace for Perfetto, with a list of them.

python -m examples.gallery FOLDER [RECORDING...]; without a recording those of the emulated host, which the
tests keep.
"""

import html
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

RECORDINGS = Path(__file__).parents[1] / "tests/reporters/recordings"

_LIST = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Recordings of split locks</title></head>
<body><h1>Recordings of split locks</h1>
<table><tr><th>recording</th><th>page</th><th>for ui.perfetto.dev</th></tr>
{rows}
</table></body></html>
"""


def make(folder: Path, recordings: Sequence[Path]) -> None:
    """Writes index.html, and NAME.html and NAME.pftrace of each recording; raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in recordings:
        page, trace = folder / f"{path.stem}.html", folder / f"{path.stem}.pftrace"
        _sldtrace("report", "--format", "html", "-o", page, path)
        _sldtrace("export", "--format", "perfetto", "-o", trace, path)
        cells = [html.escape(path.stem), _link(page), _link(trace)]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    (folder / "index.html").write_text(_LIST.format(rows="\n".join(rows)), encoding="utf-8")


def _link(path: Path) -> str:
    name = html.escape(path.name)
    return f'<a href="{name}">{name}</a>'


def _sldtrace(*arguments: object) -> None:
    command = [sys.executable, "-m", "sldtrace", *map(str, arguments)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    make(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]] or sorted(RECORDINGS.glob("*.sld")))
