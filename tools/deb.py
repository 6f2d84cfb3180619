"""Builds the Debian package from the sdist, and checks it with lintian; `make deb`.

The package's version and date are those of sldtrace: debian/changelog is written here.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from email.utils import formatdate
from pathlib import Path

from sldtrace._version import __version__
from tools import dist

NAME = f"sldtrace_{__version__}_all.deb"
_CHANGELOG = """\
sldtrace ({version}) unstable; urgency=medium

  * See CHANGELOG.md.

 -- {maintainer}  {date}
"""


def source(folder: Path) -> Path:
    """Unpacks the sdist into the folder, ready for dpkg-buildpackage; the path of the tree."""
    folder.mkdir(parents=True, exist_ok=True)
    epoch = dist.epoch()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder.resolve())]
    subprocess.run(command, cwd=dist.ROOT, env=environment, check=True, capture_output=True)
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    packed.unlink()
    tree = folder / f"sldtrace-{__version__}"
    lines = (tree / "debian" / "control").read_text().splitlines()
    maintainer = next(line.partition(": ")[2] for line in lines if line.startswith("Maintainer:"))
    (tree / "debian" / "changelog").write_text(
        _CHANGELOG.format(version=__version__, maintainer=maintainer, date=formatdate(epoch))
    )
    return tree


def build(folder: Path) -> Path:
    """Builds the package into the folder, over an older one; its path. Raises if lintian finds a fault."""
    work = folder / ".deb"
    shutil.rmtree(work, ignore_errors=True)
    try:
        tree = source(work)
        # By the distribution's Python, not one that comes before it on this machine.
        environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        subprocess.run(["dpkg-buildpackage", "-us", "-uc", "-b"], cwd=tree, env=environment, check=True)
        (changes,) = work.glob("*.changes")
        root = ["--allow-root"] if os.geteuid() == 0 else []
        subprocess.run(["lintian", *root, "--fail-on", "error,warning", str(changes)], check=True)
        return (work / NAME).replace(folder / NAME)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
