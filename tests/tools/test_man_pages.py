"""The manual has a page of each command with all that its --help says, in the order of man-pages(7)."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from sldtrace import cli
from sldtrace.errors import EXIT_STATUSES
from tools import man_pages

PAGES = {page.name: page for page in man_pages.pages()}
ORDER = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"]


def command(page: man_pages.Page) -> click.Command:
    found: click.Command = cli.main
    for word in page.name.split("-")[1:]:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner is not None
        found = inner
    return found


def test_each_command_has_a_page() -> None:
    assert set(PAGES) >= {"sldtrace", *(f"sldtrace-{name}" for name in cli.COMMANDS), "sldtrace-guest-run"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_what_the_help_has(name: str) -> None:
    page, of = PAGES[name], command(PAGES[name])
    forms = " ".join(form for _, rows in page.options for form, _ in rows)
    for param in of.params:
        for option in param.opts if isinstance(param, click.Option) and not param.hidden else ():
            assert option in forms.replace(",", " ").split()
    assert "-h" in forms
    said = " ".join(block.text for block in page.description) + " ".join(page.examples)
    meaning = " ".join(text for _, text in page.statuses)
    for words in (of.help or "", of.epilog or ""):
        for line in re.sub(r"Exit status:.*?(\n\s*\n|$)", "\n", words, flags=re.DOTALL).splitlines():
            text = line.replace("\b", "").strip()
            assert text in ("", "Examples:") or text in said or text in meaning, text
    assert len(page.summary) < 80


@pytest.mark.parametrize("name", PAGES)
def test_sections_are_in_order(name: str) -> None:
    sections = re.findall(r"^\.SH (.*)$", man_pages.roff(PAGES[name]), re.MULTILINE)
    assert sections == [section for section in ORDER if section in sections]
    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"} <= set(sections)


def test_a_page_has_the_exit_statuses_of_its_command() -> None:
    def of(name: str) -> dict[int, str]:
        return dict(PAGES[name].statuses)

    assert of("sldtrace").keys() == EXIT_STATUSES.keys()
    assert of("sldtrace-record")[3] == "--until found a loop"
    assert of("sldtrace-record").keys() == {0, 1, 2, 3}
    assert of("sldtrace-check")[5] == "it could not be determined: whether the --fail-on condition holds"
    assert of("sldtrace-export").keys() == {0, 1, 2, 130}
    assert of("sldtrace-log").keys() == {0, 1, 2, 3, 4, 5, 130}


def test_what_roff_would_replace_is_escaped() -> None:
    assert man_pages._line(".TH a-b 'c' \\n") == "\\&.TH a\\-b \\(aqc\\(aq \\en"
    assert man_pages._line("1ms,2ms, 3ms") == "1ms,\\:2ms, 3ms"


def test_programs_that_read_pages_have_no_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mandoc and man where they are installed."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    paths = man_pages.write(tmp_path)
    assert '"2023-11-14"' in paths[0].read_text()
    for path in paths:
        if shutil.which("mandoc"):
            run = subprocess.run(
                ["mandoc", "-T", "lint", "-W", "warning", str(path)], capture_output=True, text=True
            )
            assert (run.returncode, run.stdout) == (0, "")
        if shutil.which("groff"):
            run = subprocess.run(
                ["groff", "-man", "-ww", "-Tascii", "-z", str(path)], capture_output=True, text=True
            )
            assert (run.returncode, run.stderr) == (0, "")
