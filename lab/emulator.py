"""Builds the emulator: Bochs 3.0 from Debian's source with the lab's patches, and the ROMs that it needs."""

import os
import shutil
from pathlib import Path
from typing import Any

from lab import cache, hosttools, image, patching
from lab.failures import LabError
from lab.packages import SUITE, Archive, Package
from lab.progress import Progress

SOURCE = "bochs=3.0+dfsg-1"
FIRMWARE = [f"bochsbios/{SUITE}", f"vgabios/{SUITE}"]
TOOLS = ("gcc", "g++", "make", "as", "ld", "tar", "xz", "dpkg-deb", "apt-get")

# AVX needs EVEX to compile in 3.0, and the tigerlake model needs AVX.
CONFIGURE = (
    "--with-nogui",
    "--enable-x86-64",
    "--enable-cpu-level=6",
    "--enable-vmx=2",
    "--enable-avx",
    "--enable-evex",
    "--enable-smp",
    "--enable-all-optimizations",
    "--enable-pci",
    "--disable-docbook",
    "--disable-plugins",
    "CXXFLAGS=-O2 -g0 -march=x86-64-v2",
    "CFLAGS=-O2 -g0",
)

_ROMS = {"BIOS-bochs-latest": "usr/share/bochs/", "vgabios.bin": "usr/share/vgabios/"}
_BOOT_ROM = Path(__file__).with_name("bootrom.S")


def inputs(archive: Archive) -> dict[str, Any]:
    """Everything that the binary depends on; it makes the key of the artefact."""
    source, firmware = _packages(archive)
    return {
        "source": source.sha256,
        "firmware": {package.filename: package.sha256 for package in firmware},
        "patches": {patch.name: patch.read_text("latin-1") for patch in patching.series()},
        "configure": CONFIGURE,
        "compiler": hosttools.run(["g++", "--version"], what="asking the compiler").splitlines()[0],
        "boot rom": _BOOT_ROM.read_text(),
    }


def ensure(archive: Archive, progress: Progress) -> Path:
    """The folder with bochs, BIOS-bochs-latest, vgabios.bin and bootrom.bin; built when missing."""
    return cache.ensure("emulator", inputs(archive), lambda into: _build(archive, progress, into), progress)


def _packages(archive: Archive) -> tuple[Package, list[Package]]:
    files = archive.resolve_source(SOURCE)
    sources = [file for file in files if ".orig.tar." in file.filename]
    if len(sources) != 1:
        raise LabError(f"the archive lists no source tarball for {SOURCE}")
    return sources[0], archive.resolve(FIRMWARE)


def _build(archive: Archive, progress: Progress, into: Path) -> dict[str, Any]:
    hosttools.require([*TOOLS, *patching.TOOLS])
    source, firmware = _packages(archive)
    progress.stage(f"emulator: fetching {source.filename}")
    work = into / "work"
    tarball = archive.download(source, work)
    for package in firmware:
        _extract_roms(archive.download(package, work), into)
    for rom in _ROMS:
        if not (into / rom).is_file():
            raise LabError(f"the firmware packages have no {rom}")
    tree = work / "bochs"
    tree.mkdir()
    hosttools.run(
        ["tar", "xf", tarball, "-C", tree, "--strip-components=1"], what="unpacking the emulator's source"
    )
    patching.apply(tree, patching.series())
    log = cache.folder() / "logs" / "emulator-build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    progress.stage("emulator: configuring")
    hosttools.run(["./configure", *CONFIGURE], what="configuring the emulator", cwd=tree, log=log)
    jobs = os.cpu_count() or 1
    progress.stage(f"emulator: compiling with {jobs} jobs (a minute or two)")
    hosttools.run(["make", f"-j{jobs}"], what="compiling the emulator", cwd=tree, log=log)
    (tree / "bochs").rename(into / "bochs")
    _assemble_boot_rom(work, into / "bootrom.bin")
    shutil.rmtree(work)
    progress.stage("emulator: ready")
    return {"version": source.version}


def _extract_roms(deb: Path, into: Path) -> None:
    unpacked = deb.with_suffix(".tree")
    hosttools.run(["dpkg-deb", "-x", deb, unpacked], what=f"unpacking {deb.name}")
    for name, folder in _ROMS.items():
        found = unpacked / folder / name
        if found.is_file():
            # The BIOS is a symbolic link in some versions of the package.
            (into / name).write_bytes(found.read_bytes())


def _assemble_boot_rom(work: Path, rom: Path) -> None:
    hosttools.run(["as", "--32", "-o", work / "bootrom.o", _BOOT_ROM], what="assembling the boot ROM")
    hosttools.run(
        [
            "ld",
            "-m",
            "elf_i386",
            "-Ttext=0",
            "--oformat=binary",
            "-o",
            work / "bootrom.raw",
            work / "bootrom.o",
        ],
        what="linking the boot ROM",
    )
    rom.write_bytes(image.option_rom((work / "bootrom.raw").read_bytes()))
