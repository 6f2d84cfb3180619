"""Loaded kernel modules: their names and taints, and their files, unpacked."""

import gzip
import importlib
import lzma
import re
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from sldtrace.host import kernel

LARGEST = 1 << 28
"""The most bytes of a module that are unpacked; the largest known modules have some 100 MB."""

_ZSTD_SECONDS = 30


@dataclass(frozen=True)
class Module:
    """A line of /proc/modules. taints: letters such as O (out of tree), E (unsigned), P (proprietary)."""

    name: str
    taints: str = ""

    @property
    def out_of_tree(self) -> bool:
        """Was it built outside the kernel tree (TAINT_OOT_MODULE)?"""
        return "O" in self.taints


class UnreadableError(Exception):
    """The module's file cannot be read; the message says why."""


def loaded(proc: Path = Path("/proc")) -> list[Module]:
    """All loaded modules; none if the kernel has no modules (no /proc/modules)."""
    try:
        text = (proc / "modules").read_text(errors="replace")
    except FileNotFoundError:
        return []
    return [
        Module(line.split(" ", 1)[0], match[1] if (match := re.search(r" \(([A-Z]+)[+-]?\)$", line)) else "")
        for line in text.splitlines()
        if line
    ]


def paths(folder: Path | None = None) -> dict[str, Path]:
    """Where the modules' files are (modules.dep), by the names that /proc/modules uses."""
    folder = folder or Path("/lib/modules") / kernel.release()
    try:
        lines = (folder / "modules.dep").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        path = folder / line.split(":", 1)[0]
        found[path.name.split(".ko", 1)[0].replace("-", "_")] = path
    return found


def unpack(path: Path) -> bytes:
    """The module's ELF file, unpacked by the end of its name (.gz, .xz, .zst). Raises UnreadableError."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                data = file.read(LARGEST + 1)
        elif path.suffix == ".xz":
            with lzma.open(path) as file:
                data = file.read(LARGEST + 1)
        elif path.suffix == ".zst":
            data = _zstd(path)
        else:
            with open(path, "rb") as file:
                data = file.read(LARGEST + 1)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise UnreadableError(f"damaged: {error}") from None
    if len(data) > LARGEST:
        raise UnreadableError("larger than any module should be")
    return data


# Python has it since 3.14; else the program, which hosts with such modules usually have.
def _zstd(path: Path) -> bytes:
    try:
        module = importlib.import_module("compression.zstd")
    except ImportError:
        pass
    else:
        try:
            with module.open(path) as file:
                return bytes(file.read(LARGEST + 1))
        except module.ZstdError as error:
            raise UnreadableError(f"damaged: {error}") from None
    program = shutil.which("zstd")
    if program is None:
        raise UnreadableError("no program to unpack .zst: zstd is not installed")
    command = [program, "-dcq", "--", str(path)]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            data = process.stdout.read(LARGEST + 1)
            if len(data) > LARGEST:
                process.kill()
            elif process.wait(_ZSTD_SECONDS):
                raise UnreadableError("damaged: zstd cannot unpack it")
    except subprocess.TimeoutExpired:
        raise UnreadableError("zstd does not end") from None
    return data


def source_version(data: bytes) -> str | None:
    """The srcversion in the file, which /sys/module/NAME/srcversion repeats; None where it has none."""
    match = re.search(rb"\0srcversion=([0-9A-F]+)\0", data)
    return match[1].decode() if match else None


def loaded_source_version(name: str, sys: Path = Path("/sys")) -> str | None:
    """The srcversion of the module that is loaded; None if the kernel does not have it."""
    try:
        return (sys / "module" / name / "srcversion").read_text().strip()
    except OSError:
        return None
