"""The sources of the site: all pages with what they link to, and a reference of each command."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools import man_pages, site


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "source"
    site.lay_out(folder)
    return folder


def test_pages_have_what_they_link_to(sources: Path) -> None:
    assert (sources / "docs/figure/sweep.svg").is_file()
    assert (sources / "examples/vmm/loop.c").is_file()
    assert (sources / "docs/report-schema.json").is_file()
    assert len(list((sources / "docs").glob("*.md"))) == len(list((site.ROOT / "docs").glob("*.md")))


def test_each_command_has_a_reference(sources: Path) -> None:
    made = {path.stem for path in (sources / "docs/commands").iterdir()}
    assert made == {page.name for page in man_pages.pages()}
    text = (sources / "docs/commands/sldtrace-record.md").read_text()
    assert text.startswith("# sldtrace record\n\nRecord the split-lock traps of this host into a file.\n")
    assert "`-f, --force`\n: Overwrite the file if it exists.\n" in text


def test_no_character_of_a_text_is_one_of_markdown() -> None:
    assert site._plain("[x>=1] `a_b` c_d") == "\\[x\\>=1\\] `a_b` c\\_d"


def configuration() -> Any:
    spec = importlib.util.spec_from_file_location("conf", site.ROOT / "docs/conf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_contents_are_those_of_the_index(tmp_path: Path) -> None:
    conf = configuration()
    text = [(site.ROOT / "docs/index.md").read_text()]
    conf._with_contents(None, conf.root_doc, text)
    contents = text[0].partition("```{toctree}")[2]
    for page in (site.ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"\n/docs/{page.name}\n" in contents
    assert "\n/examples/README.md\n" in contents
    conf._with_begin(SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path), None)
    assert "url=docs/index.html" in (tmp_path / "index.html").read_text()


def test_sphinx_has_no_warning(sources: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "-n", "-q", "-c", str(sources / "docs")]
    run = subprocess.run([*command, str(sources), str(tmp_path)], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert "toctree" in (tmp_path / "docs/index.html").read_text()
