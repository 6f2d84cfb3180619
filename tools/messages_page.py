"""Makes the tables of messages in docs/troubleshooting.md from the source: python -m tools.messages_page.

Read from the source without running it: where an error is raised, or the text of a warning is written.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools import format_page

PAGE = format_page.PAGE.with_name("troubleshooting.md")
BEGIN = "<!-- made by python -m tools.messages_page from the source: do not edit -->"
_SOURCE = Path(__file__).resolve().parents[1] / "sldtrace"
_RAISED = ("SldtraceError", "UsageError", "MissingRequirement", "_fail")
_WARNED = re.compile(r"warning: [. ]*[^. ]")

SECTIONS = {
    "Command line": (),
    "`record`, `top` and `metrics`": (
        "capture",
        "host",
        "metrics",
        "top",
        "commands/record",
        "commands/top",
        "commands/metrics",
    ),
    "The kernel's log": ("kernlog", "commands/log"),
    "`probe` and `check`": ("litmus", "checks", "commands/probe", "commands/check"),
    "`guest`": ("vmm", "commands/guest", "commands/workload"),
    "`service`": ("commands/service",),
    "Recordings: `report` and all that read or write one": ("",),
}
"""Paths in `sldtrace` begin with one of these; the first that fits. Usage errors are in the first section."""


class Message(NamedTuple):
    """A message as the source has it, `...` where a value stands, and what to do (empty: it depends)."""

    section: str
    text: str
    hint: str


def messages() -> list[Message]:
    """All messages of errors and warnings, each once, in the order of sections and texts."""
    found = {each for path in _SOURCE.rglob("*.py") for each in _of_module(path)}
    order = list(SECTIONS)
    return sorted(found, key=lambda each: (order.index(each.section), each.text.lower(), each.hint))


def _of_module(path: Path) -> Iterator[Message]:
    where = path.relative_to(_SOURCE).as_posix()
    section = next(title for title, begins in SECTIONS.items() if where.startswith(begins))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in _RAISED:
            text, hint = (_template(argument) for argument in (*node.args, None, None)[:2])
            if text.strip(".: "):
                yield Message("Command line" if _called(node) == "UsageError" else section, text, hint)
        elif id(node) not in parts and _WARNED.match(text := _template(node)):
            yield Message(section, text, "")


def _called(call: ast.Call) -> str:
    function = call.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _template(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " ".join(node.value.split())
    if isinstance(node, ast.JoinedStr):
        parts = (str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
        return re.sub(r"(\.\.\.)+", "...", " ".join("".join(parts).split()))
    return ""


def tables() -> str:
    """A heading and a table for each section."""
    lines: list[str] = []
    found = messages()
    for section in SECTIONS:
        rows = [[_code(each.text), _code(each.hint)] for each in found if each.section == section]
        lines += [f"### {section}", "", *format_page.table(["message", "what to do"], rows), ""]
    return "\n".join(lines[:-1]) + "\n"


def _code(text: str) -> str:
    if not text:
        return ""
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def updated(page: str) -> str:
    """The page with fresh tables; raises SldtraceError when it lacks the markers."""
    return format_page.filled(page, BEGIN, tables())


if __name__ == "__main__":
    format_page.write(PAGE, updated)
