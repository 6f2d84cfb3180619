"""Writes the completions for bash, zsh and fish by click: python -m tools.completions [FOLDER].

The folder is build/completions by default; the names are those under which the shells look for them.
"""

import sys
from pathlib import Path

from click.shell_completion import get_completion_class

from sldtrace import cli

FOLDER = Path(__file__).resolve().parents[1] / "build" / "completions"
FILES = {"bash": "sldtrace", "zsh": "_sldtrace", "fish": "sldtrace.fish"}
"""The file of each shell: /usr/share/bash-completion/completions/sldtrace, ..."""
_VARIABLE = "_SLDTRACE_COMPLETE"  # as click derives it from the program's name


def source(shell: str) -> str:
    """The script that this shell reads."""
    found = get_completion_class(shell)
    if found is None:
        raise KeyError(shell)
    # Not `source()`: for bash it runs the bash that is installed, to look at its version.
    made = found(cli.main, {}, "sldtrace", _VARIABLE)
    return made.source_template % made.source_vars()


def write(folder: Path) -> list[Path]:
    """Writes the scripts into the folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for shell, name in FILES.items():
        path = folder / name
        path.write_text(source(shell), encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
