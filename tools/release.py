"""Is the tree ready to be released? One line for each reason against it; `make release`."""

import re
import subprocess
import sys
from pathlib import Path

from sldtrace._version import __version__

ROOT = Path(__file__).resolve().parent.parent


def reasons(changelog: str, changed: str, tags: str, version: str = __version__) -> list[str]:
    """Why the version cannot be released.

    changelog: CHANGELOG.md; changed: what `git status --porcelain` prints; tags: of the commit, a line each.
    """
    found = []
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no section '## [{version}] - DATE'")
    unreleased = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if unreleased and unreleased[1].strip():
        found.append("CHANGELOG.md has changes under [Unreleased]")
    if changed:
        found.append("the tree has changes that are not committed")
    if f"v{version}" not in tags.split():
        found.append(f"the commit has no tag v{version}")
    return found


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Prints the reasons; the exit status."""
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return 0
    found = reasons(
        (ROOT / "CHANGELOG.md").read_text(), _git("status", "--porcelain"), _git("tag", "--points-at", "HEAD")
    )
    for reason in found:
        print(f"release: {reason}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
