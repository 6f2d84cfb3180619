"""What `make dist` builds: twice the same, complete, and each runs in a clean environment."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import sldtrace
from tools import dist

pytestmark = pytest.mark.dist
RECORDING = dist.ROOT / "tests" / "reporters" / "recordings" / "lab-early-return-loop.sld"
WHEEL = f"sldtrace-{sldtrace.__version__}-py3-none-any.whl"
SDIST = f"sldtrace-{sldtrace.__version__}.tar.gz"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    dist.build(folder)
    return folder


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the libraries that a recorder needs, bcc aside: numpy."""
    return environment(tmp_path_factory.mktemp("recorder"), "numpy")


def environment(folder: Path, *requirements: str) -> Path:
    """The bin folder of a new environment with these."""
    venv.create(folder, with_pip=True)
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, *requirements], check=True)
    return folder / "bin"


def run(*command: str | Path, home: Path) -> "subprocess.CompletedProcess[str]":
    """Runs it outside of the tree, without the environment of the tests."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=home, env=clean)


def test_two_builds_are_equal(built: Path, tmp_path: Path) -> None:
    """In another folder, from another copy of the tree."""
    tree = tmp_path / "tree"
    shutil.copytree(
        dist.ROOT,
        tree,
        ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", ".hypothesis"),
    )
    subprocess.run(
        [sys.executable, "-m", "tools.dist", tmp_path / "again"],
        cwd=tree,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(dist.epoch())},
        check=True,
    )
    names = {path.name for path in built.iterdir()}
    assert names == {WHEEL, SDIST, dist.PYZ}
    for name in names:
        assert (built / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_the_sdist_has_the_tree_and_nothing_else(built: Path) -> None:
    with tarfile.open(built / SDIST) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=dist.ROOT, capture_output=True, text=True, check=True)
    assert names == {*listed.stdout.splitlines(), "PKG-INFO"}


def test_the_wheel_has_every_file_of_the_package(built: Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as archive:
        names = set(archive.namelist())
    listed = subprocess.run(
        ["git", "ls-files", "sldtrace", "bpf", "guests"],
        cwd=dist.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = {name if name.startswith("sldtrace/") else f"sldtrace/{name}" for name in listed.stdout.split()}
    assert {name for name in names if ".dist-info/" not in name} == wanted


@pytest.mark.parametrize("name", [WHEEL, SDIST])
def test_an_installed_package_makes_a_report(name: str, built: Path, tmp_path: Path) -> None:
    bin_ = environment(tmp_path / "environment", str(built / name))
    assert run(bin_ / "sldtrace", "--version", home=tmp_path).stdout.split()[-1] == sldtrace.__version__
    report = run(bin_ / "sldtrace", "report", "--brief", RECORDING, home=tmp_path)
    assert (report.returncode, report.stderr) == (0, "")
    assert "LIVELOCK" in report.stdout
    assert "split-bts" in run(bin_ / "sldtrace", "guest", "list", home=tmp_path).stdout
    unit = run(bin_ / "sldtrace", "service", "print", home=tmp_path).stdout
    assert f"\nExecStart={bin_ / 'sldtrace'} record " in unit


def test_a_recorder_needs_click_and_numpy_alone(built: Path, tmp_path: Path) -> None:
    bin_ = environment(tmp_path / "environment", "click", "numpy", "--no-deps", str(built / WHEEL))
    recorded = run(bin_ / "sldtrace", "record", "-o", "x.sld", "-d", "1s", home=tmp_path)
    assert (recorded.returncode, recorded.stderr.count("\n")) == (1, 1)
    assert "sldtrace check lists all requirements" in recorded.stderr
    report = run(bin_ / "sldtrace", "report", RECORDING, home=tmp_path)
    assert (report.returncode, report.stderr.count("\n")) == (1, 1)
    assert "the Python module pandas is missing" in report.stderr


def test_the_one_file_runs_with_a_python_that_has_numpy(built: Path, recorder: Path, tmp_path: Path) -> None:
    file = built / dist.PYZ
    assert os.access(file, os.X_OK)
    python = recorder / "python"
    assert run(python, file, "--version", home=tmp_path).stdout.split()[-1] == sldtrace.__version__
    check = run(python, file, "check", "--format", "json", home=tmp_path)
    assert check.returncode == 0, check.stderr
    made = run(python, file, "simulate", "-o", "made.sld", home=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "made.sld").stat().st_size > 1000
    assert "split-bts" in run(python, file, "guest", "list", home=tmp_path).stdout
    # It unpacks itself there, and writes nothing else.
    assert {path.name for path in tmp_path.iterdir()} == {".shiv", "made.sld"}
