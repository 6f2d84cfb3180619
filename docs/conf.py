"""How Sphinx builds the site from what tools/site.py has laid out: make site."""

import re
from pathlib import Path
from typing import Any

project = "sldtrace"
copyright = "the authors of sldtrace"
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
root_doc = "docs/index"
exclude_patterns = ["_build"]
highlight_language = "none"
html_theme = "furo"
html_title = "sldtrace"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

_ROW = re.compile(r"^\| \[[^\]]*\]\(([^)#]+)\) \|", re.MULTILINE)


def _with_contents(app: Any, name: str, source: list[str]) -> None:
    # The tables of the index are the table of contents, a caption each.
    if name == "README":
        source[0] = "---\norphan: true\n---\n\n" + source[0]
    if name != root_doc:
        return
    _, _, pages = source[0].partition("\n## All pages\n")
    for part in pages.split("\n### ")[1:]:
        caption = part.partition("\n")[0]
        links = "\n".join(f"/docs/{link}".replace("/docs/..", "") for link in _ROW.findall(part))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{links}\n```\n"
    source[0] += "\n```{toctree}\n:hidden:\n:glob:\n:caption: Reference of all options\n\ncommands/*\n```\n"


def _with_begin(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        page = '<!doctype html><meta charset="utf-8"><title>sldtrace</title><meta http-equiv="refresh" '
        page += 'content="0; url=docs/index.html"><a href="docs/index.html">sldtrace</a>\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _with_contents)
    app.connect("build-finished", _with_begin)
