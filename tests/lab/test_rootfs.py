"""Root file systems: each is an artefact of its own, and only what is asked for is built."""

from pathlib import Path

import pytest

from lab import artefacts, emulator, kernel_files, rootfs
from lab.kernel import DEFAULT
from lab.packages import Archive, Package
from lab.progress import Progress

QUIET = Progress(quiet=True)


@pytest.fixture
def archive(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive that has every package in one version."""

    def resolve(self: Archive, wanted: list[str]) -> list[Package]:
        return [Package(name, "1", f"{name}.deb", "http://a.example/", "0" * 64) for name in wanted]

    own_cache.mkdir(parents=True)
    monkeypatch.setattr(Archive, "resolve", resolve)
    return Archive(QUIET)


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("tracers", {"bpftrace", "linux-perf", "trace-cmd"}),
        ("qemu", {"qemu-system-x86"}),
        ("prometheus", {"prometheus"}),
    ],
)
def test_what_few_runs_need_is_in_its_own_root_file_system_only(
    archive: Archive, name: str, added: set[str]
) -> None:
    plain, larger = (rootfs.inputs(archive, one)["packages"] for one in ("plain", name))
    assert larger.keys() - plain.keys() == {f"{package}/trixie.deb" for package in added}
    assert plain.keys() < larger.keys()
    assert rootfs.kind("plain") != rootfs.kind(name)


def test_only_what_is_asked_for_is_built(
    own_cache: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def ensure(archive: Archive, name: str, progress: Progress) -> Path:
        built.append(name)
        return own_cache / name

    monkeypatch.setattr(emulator, "ensure", lambda archive, progress: own_cache / "emulator")
    monkeypatch.setattr(kernel_files, "ensure", lambda archive, name, progress: name)
    monkeypatch.setattr(rootfs, "ensure", ensure)
    assert artefacts.ensure([DEFAULT], QUIET).roots == {"plain": own_cache / "plain"}
    assert built == ["plain"]
    lab = artefacts.ensure([DEFAULT], QUIET, roots=["tracers"])
    assert lab.roots == {"tracers": own_cache / "tracers"}
    assert built == ["plain", "tracers"]
