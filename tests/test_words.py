"""Code, documentation and output do not use the words that docs/glossary.md has replaced.

A word is banned where it had more than one meaning here, or where the documentation of the kernel, KVM and
perf has another one. Part of an identifier counts as a word.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREES = ("bpf", "sldtrace", "tools", "lab", "guests", "examples", "benchmarks", "docs", "tests")
SUFFIXES = {".py", ".c", ".h", ".S", ".inc", ".md", ".txt", ".sh", ".service", ".json", ".patch", ".svg"}
# Logs and files of hosts, as they were; the old names in the list of changes; the list below.
SKIPPED = ("tests/kernlog/data/", "tests/host/data/", "CHANGELOG.md", "tests/test_words.py")

# What is said instead, by a regular expression.
BANNED = {
    r"(un)?punish\w*": "penalty, penalized, not penalized",
    r"forg[ia]ve\w*": "the penalty ends",
    r"served": "completed",
    r"(let|lets|letting) ((it|them|her|him) )?go": "not penalized, discarded, freed",
    r"told": "given, set, printed",
    r"(introduce|meet)s?": "first seen",
    r"deaf": "ignores signals",
    r"Cast": "thread identity",
    r"Order": "options",
    r"Lack": "missing requirement",
    r"deadly": "default action",
    r"(give|gives|gave|giving)(?: |_)way": "lower priority",
    r"(?<!serve_)for ?ever": "always, without end",  # serve_forever of socketserver
    r"in vain": "without effect",
    r"prices?": "cost",
    r"half <": "p50",
    r"99 % <": "p99",
    r"meanwhile": "in between, during",
    r"nobody|somebody|anybody|whoever": "no thread, a process, the user, ...",
    r"for want of": "because ... is missing",
    r"that is so": "this is the case",
    r"what stands there": "the contents",
}
_GAP = r"(?: |\s*\n[ \t]*(?:#|\*|//)?[ \t]*)"  # a blank, or the end of a line, in a comment too
_BANNED = re.compile(
    "|".join(rf"(?<![A-Za-z0-9])(?:{word})(?![A-Za-z0-9])".replace(" ", _GAP) for word in BANNED)
)


def files() -> Iterator[Path]:
    """Every text of the project, without what is made or left by other programs."""
    yield from sorted(ROOT.glob("*.md"))
    yield ROOT / "Makefile"
    for tree in TREES:
        yield from (path for path in sorted((ROOT / tree).rglob("*")) if path.suffix in SUFFIXES)


def found(text: str) -> list[str]:
    """The banned words of a text, each with its line. A phrase may be broken at the end of a line."""
    return [f"{text.count(chr(10), 0, each.start()) + 1}: {each[0]}" for each in _BANNED.finditer(text)]


@pytest.mark.parametrize("tree", ["", *TREES])
def test_banned_words_are_not_used(tree: str) -> None:
    words = {}
    for path in files():
        name = str(path.relative_to(ROOT))
        if name.startswith(SKIPPED) or (name.partition("/")[0] if "/" in name else "") != tree:
            continue
        if lines := found(path.read_text(encoding="utf-8", errors="replace")):
            words[name] = lines
    assert words == {}


def test_words_are_found() -> None:
    text = "It was\n# let go, or punished_tid.\n * It is price_ns for\n    ever"
    assert found(text) == ["2: let go", "2: punished_tid", "3: price", "3: for\n    ever"]
    assert found("toldest, Orders, Casting, unserved") == []
