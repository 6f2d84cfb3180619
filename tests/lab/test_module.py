"""Kernel modules: built for the kernel that boots, in a root with its headers; nothing is left in it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import cache, hosttools, kernel_files, module
from lab.failures import LabError
from lab.packages import MIRROR_VARIABLE, Archive, Package
from lab.progress import Progress

QUIET = Progress(quiet=True)
RELEASE = "6.12.1+deb13-cloud-amd64"


class Host:
    """Programs that do nothing but what is looked at here; `ran`: their command lines."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []
        self.fails = False

    def run(self, argv: Sequence[str | Path], *, what: str, **_: Any) -> str:
        words = [str(each) for each in argv]
        self.ran.append(words)
        if words[0] == "mmdebstrap":
            Path(words[-2]).touch()
        elif words[0] == "unshare":
            if self.fails:
                raise LabError(f"{what} failed")
            folder = Path(words[-3] + words[-1])
            shutil.copy(folder / "one.c", folder / "one.ko")
        return ""


@pytest.fixture
def host(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    def resolve(self: Archive, wanted: list[str]) -> list[Package]:
        return [Package(name, "1", f"{name}.deb", "http://a.example/", "0" * 64) for name in wanted]

    made = Host()
    own_cache.mkdir(parents=True)
    monkeypatch.setattr(Archive, "resolve", resolve)
    monkeypatch.setattr(module, "TOOLS", ())
    monkeypatch.setenv(MIRROR_VARIABLE, "http://a.example/debian")
    monkeypatch.setattr(kernel_files, "ensure", lambda *_: SimpleNamespace(release=RELEASE))
    monkeypatch.setattr(hosttools, "run", made.run)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "Makefile").write_text("obj-m := one.o\n")
    (folder / "one.c").write_text("code")
    return folder


def tree() -> Path:
    (found,) = (cache.folder() / module.kind("6.12")).glob("*/tree")
    return found


def test_modules_are_built_for_that_kernel_and_its_headers_come_once(
    host: Host, source: Path, tmp_path: Path
) -> None:
    for number in ("first", "second"):
        into = tmp_path / number
        into.mkdir()
        made = module.build(Archive(QUIET), "6.12", source, into, QUIET)
        assert made == [into / "one.ko"]
        assert made[0].read_text() == "code"
    assert [words[0] for words in host.ran] == ["mmdebstrap", "tar", "unshare", "unshare"]
    assert f"--include=linux-headers-{RELEASE},make" in host.ran[0]
    assert host.ran[2][-2] == RELEASE
    assert list(tree().iterdir()) == []


def test_a_module_that_cannot_be_built_leaves_nothing(host: Host, source: Path, tmp_path: Path) -> None:
    host.fails = True
    with pytest.raises(LabError, match="building the kernel module in"):
        module.build(Archive(QUIET), "6.12", source, tmp_path, QUIET)
    assert list(tree().iterdir()) == []


def test_other_headers_are_another_root(host: Host) -> None:
    one, two = (module.inputs(Archive(QUIET), "6.12", release) for release in (RELEASE, "6.12.2"))
    assert cache.key(one) != cache.key(two)
