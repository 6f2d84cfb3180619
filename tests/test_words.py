"""Plain words: code, documentation and output do not use the words that docs/glossary.md has replaced.

A word is banned because it has more than one meaning here, or because the documentation of the kernel, KVM
and perf has another one. `ALLOWED` lists the places where a banned word is a quotation or a name of
something else.
"""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREES = ("bpf", "sldtrace", "tools", "lab", "guests", "examples", "benchmarks", "docs", "tests")
SUFFIXES = {".py", ".c", ".h", ".S", ".inc", ".md", ".txt", ".sh", ".service", ".json", ".patch"}
# Written by a program that ran elsewhere, or what others wrote.
SKIPPED = ("tests/kernlog/data/", "tests/host/data/")

BANNED = {
    r"(un)?punish\w*": "penalty, penalized, not penalized",
    r"forg[ia]ve\w*": "penalty_end",
    r"served": "completed",
    r"(let|lets|letting) (it |them |her |him )?go": "not penalized, discarded, freed",
    r"told": "set, given, printed",
    r"(introduce|meet|met)s?": "emit, create, first seen",
    r"deaf": "ignores signals",
    r"Cast": "ThreadIdentity",
    r"Order": "options",
    r"Lacks?": "missing requirement",
    r"deadly": "default action",
    r"(give|gives|gave|giving)[ _]way": "lower priority",
    r"for ?ever": "without end, always",
    r"in vain": "without effect",
    r"prices?": "cost",
    r"half <": "p50",
    r"meanwhile": "at the same time; in between",
    r"nobody|somebody|whoever|anybody": "no process, a program, the user",
    r"for want of": "because ... is missing",
    r"that is so": "this is the case",
    r"what stands there": "the contents",
}
ALLOWED: dict[str, set[str]] = {
    "tests/test_words.py": set(BANNED),
}
_BANNED = re.compile("|".join(rf"\b(?:{word})(?!\w)" for word in BANNED))


def files() -> Iterator[Path]:
    yield from sorted(ROOT.glob("*.md"))
    yield ROOT / "Makefile"
    for tree in TREES:
        yield from (path for path in sorted((ROOT / tree).rglob("*")) if path.suffix in SUFFIXES)


def found(text: str) -> list[tuple[int, str]]:
    """The banned words of a text, each with its line. A phrase may be broken over two lines."""
    return [
        (text.count("\n", 0, match.start()) + 1, match[0])
        for match in _BANNED.finditer(re.sub(r"\n[ \t#*|/]*", lambda gap: "\n", text))
    ]
