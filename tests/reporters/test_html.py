"""The page: it says what the other formats say, loads nothing, and takes every text as text."""

import base64
import hashlib
import json
import re
import sys
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sldtrace.errors import SldtraceError
from sldtrace.reporters.document import (
    Block,
    Facts,
    Lanes,
    Overview,
    Rates,
    Report,
    Section,
    Step,
    Steps,
    Table,
    Text,
)
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.html import HtmlReporter
from sldtrace.reporters.style import Style
from sldtrace.reporters.text import cell
from tests.analyzers.simulated import simulated
from tests.analyzers.synthetic import START_NS, VCPU, VMM, completed, facts, loop, task, trace
from tests.reporters import browser, cases, rendering
from tests.reporters.browser import Page

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{{ 7*7 }}</title></style>"


@cache
def built(name: str) -> Report:
    with TemporaryDirectory() as folder:
        return rendering.built(cases.CASES[name](Path(folder)), with_pictures=True)


def page(content: Report) -> Page:
    return Page(HtmlReporter().render(content, Style()))


def words(text: str) -> str:
    return " ".join(text.split())


def said(section: Section) -> list[str]:
    """Every text of a section that all formats have."""
    found = [section.title]
    for block in section.blocks:
        found += _of_block(block)
    return found + [text for part in section.parts for text in said(part)]


def _of_step(step: Step) -> list[str]:
    details = [text for fact in step.details for text in (fact.text, *(each.text for each in fact.commands))]
    return [step.what, step.cost, step.command or "", *details]


def _of_block(block: Block) -> list[str]:
    match block:
        case Text():
            return [block.text]
        case Facts():
            return [text for fact in block.facts for text in (fact.label, fact.text)]
        case Steps():
            return [text for step in block.steps for text in _of_step(step)]
        case Overview():
            facts = (*block.facts, *([block.nothing] if block.nothing else []))
            verdicts = [text for each in block.verdicts for text in (each.sentence, each.when, each.cause)]
            steps = [text for each in block.verdicts if each.step for text in _of_step(each.step)]
            return [
                block.title,
                *(text for fact in facts for text in (fact.label, fact.text)),
                *verdicts,
                *steps,
            ]
        case Lanes():
            return [block.start, block.end, block.legend, *(text for lane in block.lanes for text in lane)]
        case Table():
            values = [
                cell(value, column.unit)
                for row in block.rows
                for value, column in zip(row, block.columns, strict=True)
            ]
            return [*(column.header for column in block.columns), *values]
    return []


@pytest.mark.parametrize("name", cases.CASES)
def test_a_page_says_all_that_the_text_says(name: str) -> None:
    found = page(built(name)).text
    plain = cases.report(name)
    missing = [text for section in plain.sections for text in said(section) if words(text) not in found]
    assert missing == []


@pytest.mark.parametrize("name", ["livelock", "queue", "lab-early-return-loop"])
def test_the_numbers_of_the_pictures_are_those_of_the_json(name: str) -> None:
    content = built(name)
    threads = json.loads(rendering.as_json(content))["threads"]
    captions = [text for text in page(content).texts if "early returns and" in text]
    for thread in threads:
        counts = (
            f"of which {thread['early_returns']:,} early returns and "
            f"{thread['completed']:,} completed penalties"
        )
        assert any(text.startswith(f"{thread['traps']:,} trap") and counts in text for text in captions)
    early = sum(thread["early_returns"] for thread in threads)
    assert not early or f"{early:,} early returns" in page(content).text


def test_the_rate_of_a_regular_loop_is_even() -> None:
    (rates,) = (
        block
        for section in built("lab-early-return-loop").sections
        for part in (section, *section.parts)
        for block in part.blocks
        if isinstance(block, Rates)
    )
    ((_, name, values),) = rates.series
    inside = [value for value in values if value][1:-1]
    assert name == "early returns"
    assert len(inside) > 10
    assert max(inside) < 1.2 * min(inside)


def test_json_and_text_of_a_report_with_pictures_are_those_without() -> None:
    assert rendering.as_json(built("livelock")) == rendering.as_json(cases.report("livelock"))


def test_the_overview_comes_first_and_leads_to_the_rest() -> None:
    found = page(built("lab-early-return-loop"))
    assert found.text.index("LIVELOCK") < found.text.index("What each thread did")
    links = [values["href"] for tag, values in found.elements if tag == "a"]
    ids = [values["id"] for tag, values in found.elements if "id" in values]
    assert links
    assert {str(link).removeprefix("#") for link in links} <= set(ids)
    assert len(ids) == len(set(ids))


def test_threads_of_one_cause_are_one_verdict(tmp_path: Path) -> None:
    rows = [*loop(200), *(row | {"tid": VCPU + 1, "vcpu": 1} for row in loop(200))]
    content = rendering.built(trace(tmp_path, rows), with_pictures=True)
    found = page(content)
    assert sum(tag == "article" for tag, _ in found.elements) == 1
    assert "2 vCPUs (0-1)" in found.text


def test_nothing_found_is_a_verdict_too() -> None:
    content = built("amd")
    assert sum(tag == "article" for tag, _ in page(content).elements) == 1


@pytest.mark.parametrize("name", ["livelock", "semaphore", "detail"])
def test_a_page_loads_nothing_and_runs_only_its_own_script(name: str) -> None:
    text = HtmlReporter().render(built(name), Style())
    found = Page(text)
    for tag, values in found.elements:
        assert not {"src", "style", "data", "action", "srcset"} & set(values), tag
        assert not [each for each in values if each.startswith("on")], tag
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert str(values.get("href", "#")).startswith("#")
    policy = next(values["content"] for tag, values in found.elements if "http-equiv" in values)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for element in ("style", "script"):
        (inside,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy


def hostile(folder: Path) -> Report:
    vm = dict.fromkeys(("name", "uuid", "id", "namespace", "pod"), NASTY)
    who = {"comm": NASTY, "vmm": NASTY, "vm": vm | {"source": {"name": NASTY}}, "cgroup": NASTY}
    opening = facts(
        kernel={"release": NASTY}, cpu={"model": NASTY}, host={"name": NASTY}, split_lock={"mode": NASTY}
    )
    rows = [*loop(200), *(completed(index * 20_000_000, tid=400, tgid=400) for index in range(9))]
    tasks = [task(VCPU, b"<b>\"'&</title>"), task(VMM, b"{{7*7}}<i>")]
    recorded = trace(folder, rows, opening=opening, tasks=tasks, updates=[{"processes": {str(VMM): who}}])
    return rendering.built(recorded, with_pictures=True)


def test_names_stay_text(tmp_path: Path) -> None:
    text = HtmlReporter().render(hostile(tmp_path), Style())
    found = Page(text)
    assert NASTY in found.text
    assert "{{7*7}}" in found.text or "49" not in found.text
    assert sum(tag == "script" for tag, _ in found.elements) == 1
    assert not [tag for tag, _ in found.elements if tag in ("img", "i")]


def test_100_000_traps_of_10_vcpus_are_at_most_2_mb(tmp_path: Path) -> None:
    options = ("--vcpus", "10", "--cpus", "10", "--timer", "13ms", "--jitter", "3ms", "--source", "periodic")
    recorded = simulated(tmp_path, *options, "-d", "120s")
    content = rendering.built(recorded, with_pictures=True)
    assert recorded.recording.counts["trap"] > 80_000
    assert len(HtmlReporter().render(content, Style()).encode()) < 2_000_000


def test_without_jinja2_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(SldtraceError, match="needs Jinja2, which is not installed; pip install"):
        FORMATS["html"].check()


@browser.needed
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it_without_an_error(dark: bool, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(HtmlReporter().render(hostile(tmp_path), Style()), encoding="utf-8")
    options = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0") if dark else ()
    dom, console = browser.open_page(path, tmp_path, *options)
    assert console == []
    found = Page(dom)
    # The script ran: it shows the buttons of the timelines.
    tools = [values for tag, values in found.elements if values.get("class") == "tools"]
    assert tools
    assert not [values for values in tools if "hidden" in values]
    assert NASTY in found.text


@browser.needed
def test_a_browser_refuses_what_the_policy_forbids(tmp_path: Path) -> None:
    """The console is read, and the policy is in force."""
    text = HtmlReporter().render(built("livelock"), Style())
    path = tmp_path / "report.html"
    foreign = "<script>document.title = 'ran'</script><img src='http://192.0.2.1/x.png'></body>"
    path.write_text(text.replace("</body>", foreign), encoding="utf-8")
    dom, console = browser.open_page(path, tmp_path)
    assert "<title>ran" not in dom
    assert sum("Content Security Policy" in line for line in console) == 2


render = partial(HtmlReporter().render, style=Style())


def test_a_recording_without_traps_has_a_page(tmp_path: Path) -> None:
    content = rendering.built(trace(tmp_path), with_pictures=True)
    assert "NOTHING FOUND" in Page(render(content)).text


def test_times_are_those_of_the_host_where_the_facts_are_lost(tmp_path: Path) -> None:
    opening = facts()
    del opening["clock"]
    recorded = trace(tmp_path, loop(200), opening=opening, ended={})
    text = Page(render(rendering.built(recorded, with_pictures=True))).text
    assert f"{START_NS / 1e9:.3f} s" in text
