"""What can be checked of the packaging without building it."""

import re
import subprocess

import tomllib

from tools import dist

ROOT = dist.ROOT
CONTROL = (ROOT / "debian" / "control").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    listed = subprocess.run(
        ["git", "ls-files", "debian"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "debian/changelog" not in listed.stdout.split()  # tools/deb.py writes it


def test_the_package_asks_for_the_versions_that_the_wheel_asks_for() -> None:
    for requirement in PROJECT["dependencies"]:
        name, _, version = requirement.partition(">=")
        assert re.search(rf"python3-{name} \(>= (?:1:)?{re.escape(version)}\)", CONTROL), name
    assert f"X-Python3-Version: {PROJECT['requires-python'].replace('>=', '>= ')}\n" in CONTROL


def test_a_host_that_records_needs_no_pandas() -> None:
    depends = CONTROL.partition("\nDepends: ")[2].partition("\nRecommends: ")
    assert "pandas" not in depends[0]
    assert "pandas" in depends[2].partition("\n")[0]
