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


def test_the_tracers_are_in_their_own_root_file_system_only(archive: Archive) -> None:
    plain, tracers = (rootfs.inputs(archive, name)["packages"] for name in ("plain", "tracers"))
    added = {"bpftrace/trixie.deb", "linux-perf/trixie.deb", "trace-cmd/trixie.deb"}
    assert tracers.keys() - plain.keys() == added
    assert plain.keys() < tracers.keys()
    assert rootfs.kind("plain") != rootfs.kind("tracers")


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
