"""The Debian package: built twice the same in clean Debian 12 and 13 roots, installed, and removed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.packages import SUITE
from sldtrace._version import __version__
from tools import deb, dist

pytestmark = [
    pytest.mark.dist,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes and enters root file systems"),
]
CONTROL = (dist.ROOT / "debian" / "control").read_text()
# What dpkg itself writes, and what this test brings.
NOT_OURS = ("var/lib/dpkg", "var/log", "tmp", "proc")


def packages(field: str) -> list[str]:
    """The names in a field of debian/control, without versions and substitutions."""
    found = re.search(rf"^{field}: ((?:.*\n)(?:[ ].*\n)*)", CONTROL, re.MULTILINE)
    assert found
    return [name for name in re.findall(r"(?:^|,)\s*([\w.$-]+)", found[1]) if "$" not in name]


def concrete(name: str) -> str:
    """The package that provides a virtual one."""
    return {"debhelper-compat": "debhelper", "dh-sequence-python3": "dh-python"}.get(name, name)


def make_root(suite: str, folder: Path, include: list[str]) -> Path:
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(include)}", suite, folder],
        check=True,
    )
    return folder


def inside(root: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Runs it in the root, with its own /proc."""
    environment = "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root"
    enter = f"mount -t proc proc {root}/proc && exec {environment} chroot {root} sh -c"
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", f'{enter} "$1"', "sh", script],
        capture_output=True,
        text=True,
    )


def files(root: Path) -> set[str]:
    found = set()
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if str(here / name) not in NOT_OURS]
        found |= {str(here / name) for name in (*folders, *names)}
    return found


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The suite, and the package that was built in a clean root of it."""
    folder = tmp_path_factory.mktemp(request.param)
    build = [*map(concrete, packages("Build-Depends")), "build-essential", "fakeroot", "lintian"]
    root = make_root(request.param, folder / "root", build)
    package = build_in(root, "build")
    checked = inside(root, "cd /tmp/build && lintian --allow-root --fail-on error,warning *.changes")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return request.param, package


def build_in(root: Path, folder: str, settings: str = "true") -> Path:
    """Builds the package in /tmp/`folder` of the root, after the `settings` of the shell; its path."""
    deb.source(root / "tmp" / folder)
    tree = f"/tmp/{folder}/sldtrace-{__version__}"
    done = inside(root, f"{settings}; cd {tree} && dpkg-buildpackage -us -uc -b")
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "tmp" / folder / deb.NAME


def test_two_builds_are_equal(built: tuple[str, Path]) -> None:
    """In another folder, by a user with another time zone, locale and umask."""
    _, package = built
    again = build_in(package.parents[2], "another", "umask 077; export TZ=Asia/Tokyo LC_ALL=C.UTF-8")
    assert package.read_bytes() == again.read_bytes()


def test_it_is_installed_runs_and_is_removed_without_a_trace(built: tuple[str, Path], tmp_path: Path) -> None:
    suite, package = built
    root = make_root(suite, tmp_path / "root", packages("Depends"))
    before = files(root)
    (root / "tmp" / deb.NAME).write_bytes(package.read_bytes())
    (root / "tmp" / "record").write_bytes((dist.ROOT / "debian" / "tests" / "record").read_bytes())
    installed = inside(root, f"dpkg --install /tmp/{deb.NAME}")
    assert installed.returncode == 0, installed.stderr
    assert {"usr/bin/sldtrace", "etc/default/sldtrace"} <= files(root)

    tested = inside(root, "sh /tmp/record")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    simulated = inside(root, "sldtrace simulate --output /tmp/made.sld")
    assert simulated.returncode == 0, simulated.stderr
    report = inside(root, "sldtrace report /tmp/made.sld")
    assert report.stderr == "sldtrace: the Python module pandas is missing: apt install python3-pandas\n"
    summary = inside(root, "sldtrace report --brief /tmp/made.sld")
    assert (summary.returncode, summary.stderr) == (0, "")
    assert "LIVELOCK" in summary.stdout
    recorded = inside(root, "sldtrace record --output /tmp/x.sld --duration 1s")
    assert (recorded.returncode, recorded.stderr.count("\n")) == (1, 1)
    assert "bcc" not in recorded.stderr  # it is there; a tracefs is not

    (root / "var/lib/sldtrace").mkdir()
    (root / "var/lib/sldtrace/host.0001.sld").touch()
    removed = inside(root, "dpkg --remove sldtrace")
    assert removed.returncode == 0, removed.stderr
    assert files(root) - before >= {"etc/default/sldtrace", "var/lib/sldtrace/host.0001.sld"}
    purged = inside(root, "dpkg --purge sldtrace")
    assert purged.returncode == 0, purged.stderr
    assert files(root) == before


def test_debian_runs_the_tests_of_the_package(built: tuple[str, Path], tmp_path: Path) -> None:
    """autopkgtest, as Debian's and a distribution's machines run debian/tests."""
    suite, package = built
    needed = [*packages("Depends"), *packages("Recommends"), "autopkgtest", "dpkg-dev"]
    root = make_root(suite, tmp_path / "root", needed)
    (root / "tmp" / deb.NAME).write_bytes(package.read_bytes())
    tree = deb.source(root / "tmp" / "source").relative_to(root)
    done = inside(root, f"autopkgtest /tmp/{deb.NAME} /{tree}/ -- null")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(
        r"^(\w+) +PASS$", (done.stdout + done.stderr).rpartition(" summary\n")[2], re.MULTILINE
    )
    assert passed == ["record", "report"]


@pytest.mark.parametrize("built", [SUITE], indirect=True)
def test_the_installed_recorder_records_a_frozen_guest(built: tuple[str, Path], tmp_path: Path) -> None:
    """In the lab's machine, which is of that suite: from the installation to the removal."""
    _, package = built
    script = dist.ROOT / "tests" / "packaging" / "in_lab.sh"
    boot = [sys.executable, "-m", "lab", "run", "--quiet", "--fetch", "/tmp/out", "--out", str(tmp_path)]
    boot += ["--put", f"{package}:/tmp/sldtrace.deb", "--put", f"{script}:/tmp/in_lab.sh"]
    boot += ["--", "sh", "/tmp/in_lab.sh", "/tmp/sldtrace.deb", "/tmp/out"]
    done = subprocess.run(boot, cwd=dist.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "out"
    assert "\nLIVELOCK: vCPU 0 of VM split-bts" in (out / "report").read_text()
    assert "\nExecStart=/usr/bin/sldtrace record " in (out / "sldtrace.service").read_text()
    assert (out / "before").read_text() == (out / "after").read_text()
