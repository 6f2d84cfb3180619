"""What docs/report.md says of each kind of finding: how the lab provokes it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "report.md"
NOT_YET = "nothing yet"
"""The beginning of a row of a kind that has no recording and no walk-through."""


def provoked() -> dict[str, str]:
    """By kind, the text in the table "Seen to happen"; it begins with `nothing` where the lab cannot."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("### Seen to happen")
    table, _, _ = rest.partition("\n## ")
    return dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", table, re.MULTILINE))
