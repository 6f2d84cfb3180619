"""The changes to Bochs 3.0, one patch per concern, and how they are applied.

The header of each patch says what it models and where that is specified.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from lab import hosttools
from lab.failures import LabError

TOOLS = ("patch",)
_FOLDER = Path(__file__).resolve().parent / "patches"


def series() -> list[Path]:
    """The patches in the order in which they are applied: by name."""
    return sorted(_FOLDER.glob("*.patch"))


def apply(tree: Path, patches: Sequence[Path]) -> None:
    """Applies the patches to the files below `tree`, with patch(1) and without fuzz.

    Raises LabError at the first patch that does not apply as a whole; the message names it and the file.
    """
    hosttools.require(TOOLS)
    log = tree.with_name(f"{tree.name}-patch.log")
    for patch in patches:
        options = ["-p1", "--fuzz=0", "--batch", "--forward", "--reject-file=-", f"--input={patch}"]
        try:
            hosttools.run(["patch", *options], what=f"patch {patch.name}", cwd=tree, log=log)
        except LabError:
            raise LabError(
                f"{patch.name} does not apply to {_failed_file(log.read_text('latin-1'))}",
                f"the patches in {_FOLDER.parent.name}/{_FOLDER.name} are for Bochs 3.0",
            ) from None


def _failed_file(log: str) -> str:
    """The file that patch(1) names before its first complaint."""
    file = "its files"
    for line in log.splitlines():
        if named := re.match(r"patching file (\S+)|\|?--- a/(\S+)", line):
            file = named[1] or named[2]
        elif " FAILED" in line or "ignored" in line or line.startswith("No file to patch"):
            break
    return file
