"""Loaded modules and their files."""

import gzip
import importlib
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from sldtrace.host import modules
from sldtrace.host.modules import Module, UnreadableError

PROC_MODULES = """\
vboxdrv 696320 2 vboxnetadp,vboxnetflt, Live 0x0000000000000000 (OE)
kvm_intel 471040 0 - Live 0x0000000000000000
nvidia 62713856 1 - Live 0x0000000000000000 (POE)
loading 16384 0 - Loading 0x0000000000000000 (O+)
"""


def test_names_and_taints(tmp_path: Path) -> None:
    (tmp_path / "modules").write_text(PROC_MODULES)
    found = modules.loaded(tmp_path)
    assert found == [
        Module("vboxdrv", "OE"),
        Module("kvm_intel", ""),
        Module("nvidia", "POE"),
        Module("loading", "O"),
    ]
    assert [one.out_of_tree for one in found] == [True, False, True, True]


def test_a_kernel_without_modules(tmp_path: Path) -> None:
    assert modules.loaded(tmp_path) == []
    assert modules.paths(tmp_path) == {}


def test_files_are_found_by_the_names_of_proc(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "kernel/arch/x86/kvm/kvm-intel.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz\nupdates/dkms/vboxdrv.ko:\n"
    )
    assert modules.paths(tmp_path) == {
        "kvm_intel": tmp_path / "kernel/arch/x86/kvm/kvm-intel.ko.xz",
        "vboxdrv": tmp_path / "updates/dkms/vboxdrv.ko",
    }


def packed(folder: Path, data: bytes) -> list[Path]:
    (folder / "m.ko").write_bytes(data)
    (folder / "m.ko.gz").write_bytes(gzip.compress(data))
    (folder / "m.ko.xz").write_bytes(lzma.compress(data))
    return [folder / "m.ko", folder / "m.ko.gz", folder / "m.ko.xz"]


def test_files_are_unpacked(tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    for path in packed(tmp_path, data):
        assert modules.unpack(path) == data


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
def test_zst(tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    (tmp_path / "m.ko").write_bytes(data)
    subprocess.run(["zstd", "-q", tmp_path / "m.ko"], check=True)
    assert modules.unpack(tmp_path / "m.ko.zst") == data
    (tmp_path / "bad.ko.zst").write_bytes(data)
    with pytest.raises(UnreadableError, match="damaged"):
        modules.unpack(tmp_path / "bad.ko.zst")


def test_zst_without_anything_that_unpacks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.ko.zst").write_bytes(b"x")
    monkeypatch.setattr(importlib, "import_module", _missing)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UnreadableError, match="zstd is not installed"):
        modules.unpack(tmp_path / "m.ko.zst")


def _missing(name: str) -> None:
    raise ImportError(name)


def test_what_cannot_be_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableError, match="No such file"):
        modules.unpack(tmp_path / "none.ko")
    plain, *others = packed(tmp_path, bytes(1 << 16))
    for path in others:
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(UnreadableError):
            modules.unpack(path)
        path.write_bytes(b"no archive at all")
        with pytest.raises(UnreadableError):
            modules.unpack(path)
    monkeypatch.setattr(modules, "LARGEST", 1000)
    with pytest.raises(UnreadableError, match="larger"):
        modules.unpack(plain)


def test_which_file_was_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "module" / "vboxdrv"
    folder.mkdir(parents=True)
    assert modules.loaded_source_version("vboxdrv", tmp_path) is None
    (folder / "srcversion").write_text("0A1B\n")
    assert modules.loaded_source_version("vboxdrv", tmp_path) == "0A1B"
    assert modules.source_version(b"\0license=GPL\0srcversion=0A1B\0depends=\0") == "0A1B"
    assert modules.source_version(b"\0license=GPL\0") is None
