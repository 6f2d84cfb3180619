"""`sldtrace compare`: its formats say the same, and its exit status is for scripts."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from sldtrace.commands import compare as module
from tests.analyzers.simulated import simulated
from tests.reporters.browser import Page
from tools import json_schemas

OPTIONS = {
    "bad": ("--timer", "1ms"),
    "slow": ("--timer", "20ms"),
    "good": ("--timer", "1ms", "--mitigate", "0"),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, options in OPTIONS.items():
        folder = tmp_path_factory.mktemp(name)
        found[name] = simulated(folder, *options, "-d", "3s").recording.path
    found["short"] = simulated(tmp_path_factory.mktemp("short"), "--timer", "1ms", "-d", "1s").recording.path
    return found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(module.compare, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("before", "after", "expect", "status"),
    [
        ("bad", "good", "fixed", 0),
        ("bad", "slow", "fixed", 3),
        ("bad", "slow", "better", 0),
        ("bad", "bad", "better", 3),
        ("bad", "bad", "same", 0),
        ("good", "bad", "same", 3),
        ("good", "bad", None, 0),
        ("short", "good", None, 5),
        ("short", "good", "fixed", 5),
    ],
)
def test_the_exit_status(
    before: str, after: str, expect: str | None, status: int, paths: dict[str, Path]
) -> None:
    options = ["--expect", expect] if expect else []
    assert run(*options, paths[before], paths[after]).exit_code == status


def test_all_formats_say_the_same(paths: dict[str, Path]) -> None:
    text, machine, page = (
        run("--format", form, paths["bad"], paths["good"]).stdout for form in ("text", "json", "html")
    )
    content = json.loads(machine)
    Draft202012Validator(json_schemas.schema(json_schemas.CONTENTS["compare"])).validate(content)
    assert content["outcome"] == "fixed"
    (row,) = content["rows"]
    tags = [tag for tag, _ in Page(page).elements]
    assert tags.count("h1") == 1
    for said in (text, Page(page).text):
        assert "FIXED: " in said
        assert f"{row['before']['traps']:,}" in said
        assert "split_lock.mitigate" in said
    assert content["settings"] == [{"name": "split_lock.mitigate", "before": "1", "after": "0"}]


def test_an_address_is_redacted_the_same_in_both(paths: dict[str, Path]) -> None:
    plain, hidden = (
        json.loads(run("--format", "json", *options, paths["bad"], paths["good"]).stdout)
        for options in ((), ("--redact",))
    )
    assert hidden["outcome"] == plain["outcome"]
    assert len(hidden["rows"]) == len(plain["rows"]) == 1
    assert hidden["rows"][0]["rip"] != plain["rows"][0]["rip"]
