"""Builds what is released: wheel, sdist, and one file for hosts without internet; `make dist`.

The same commit gives the same bytes: times in the archives are that of the commit, or SOURCE_DATE_EPOCH.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYZ = "sldtrace.pyz"
_NOT_BUNDLED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def epoch() -> int:
    """Seconds since 1970 of the times in the archives: SOURCE_DATE_EPOCH, or the time of the commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    shown = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(shown.stdout)


def build(folder: Path) -> list[Path]:
    """Builds all three into the folder, over older ones; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
    work = folder / ".work"
    shutil.rmtree(work, ignore_errors=True)
    try:
        _run(["hatchling", "build", "-d", str((work / "out").resolve())], environment)
        (wheel,) = (work / "out").glob("*.whl")
        (sdist,) = (work / "out").glob("*.tar.gz")
        _pyz(wheel, work / "site", work / "out" / PYZ, environment)
        return [each.replace(folder / each.name) for each in (wheel, sdist, work / "out" / PYZ)]
    finally:
        shutil.rmtree(work, ignore_errors=True)


# sldtrace and click are Python only, so the file is for every Python and CPU. bcc works with the Python of
# the distribution only, which has numpy, too. shiv, not zipapp: what is not Python has to be files.
def _pyz(wheel: Path, site: Path, output: Path, environment: dict[str, str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    click = metadata.distribution("click")
    for file in click.files or ():
        if ".." in file.parts or "__pycache__" in file.parts or file.name in _NOT_BUNDLED:
            continue
        copy = site / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), copy)
    for path in site.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shiv = ["shiv.cli", "--site-packages", str(site), "--reproducible", "--compressed"]
    _run(
        [*shiv, "-e", "sldtrace.__main__:main", "-p", "/usr/bin/env python3", "-o", str(output)], environment
    )


def _run(module: list[str], environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", *module], cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    for built in build(Path(sys.argv[1])):
        print(f"{built} ({built.stat().st_size:,} bytes)")
