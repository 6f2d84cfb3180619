#!/usr/bin/env python3
"""Assembles the bundled guests with GNU binutils: a .bin for each .S (needed after a change only)."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def assemble(source: Path, image: Path) -> None:
    """Assembles `source` into the flat binary `image`; the linked ELF is kept next to it, as .elf.

    Raises OSError if binutils is missing, CalledProcessError if a tool refuses the source.
    """
    elf = image.with_suffix(".elf")
    relocatable = image.with_suffix(".o")
    commands: list[list[str | Path]] = [
        ["as", "--64", "--fatal-warnings", f"-I{source.parent}", "-o", relocatable, source],
        ["ld", "-m", "elf_x86_64", "--build-id=none", "-Ttext=0", "-e", "start", "-o", elf, relocatable],
        ["objcopy", "-O", "binary", "-j", ".text", elf, image],
    ]
    for command in commands:
        subprocess.run(command, check=True)


def main() -> int:
    """Writes the images, or with --check only compares them; 1 if one is out of date or cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if an image is out of date")
    check = parser.parse_args().check
    stale = False
    with tempfile.TemporaryDirectory() as scratch:
        for source in sorted(FOLDER.glob("*.S")):
            kept = source.with_suffix(".bin")
            fresh = Path(scratch) / kept.name
            try:
                assemble(source, fresh)
            except OSError as error:
                print(f"cannot run {error.filename}: {error.strerror}; install binutils", file=sys.stderr)
                return 1
            except subprocess.CalledProcessError as error:
                print(f"{source.name}: {error.cmd[0]} failed (see above)", file=sys.stderr)
                return 1
            image = fresh.read_bytes()
            if not kept.is_file() or kept.read_bytes() != image:
                print(f"{kept.name}: {'out of date' if check else 'written'}, {len(image)} bytes")
                stale = True
                if not check:
                    kept.write_bytes(image)
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
