"""Makes what the machine boots from: newc archives, the halves of a bzImage, the option ROM, disks."""

import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from lab.failures import LabError

ROM_SIZE = 512
# Bochs takes disks of whole cylinders only: 16 heads of 63 sectors of 512 bytes.
CYLINDER = 16 * 63 * 512
# Where the option ROM expects the setup code; the command line goes after its heap.
SETUP_ADDRESS = 0x90000
KERNEL_ADDRESS = 0x100000
_COMMAND_LINE_OFFSET = 0xE000
_COMMAND_LINE_MAX = 2047


class Cpio:
    """A newc archive, everything owned by root and of time 0.

    The format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
    """

    def __init__(self) -> None:
        self._out = bytearray()
        self._inode = 0
        self._folders: set[str] = set()

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A folder and its parents; an existing one is left as it is."""
        path = path.strip("/")
        if not path or path in self._folders:
            return
        self.folder(path.rpartition("/")[0])
        self._folders.add(path)
        self._add(path, stat.S_IFDIR | mode)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A regular file and the folders above it."""
        self.folder(path.rpartition("/")[0])
        self._add(path.strip("/"), stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        """A symbolic link and the folders above it."""
        self.folder(path.rpartition("/")[0])
        self._add(path.strip("/"), stat.S_IFLNK | 0o777, target.encode("utf-8", "surrogateescape"))

    def device(self, path: str, major: int, minor: int) -> None:
        """A character device, mode 0600."""
        self.folder(path.rpartition("/")[0])
        self._add(path.strip("/"), stat.S_IFCHR | 0o600, device=(major, minor))

    def finish(self) -> bytes:
        """The archive with its trailer, padded so that another one can follow."""
        self._add("TRAILER!!!", 0)
        self._out.extend(b"\0" * (-len(self._out) % 512))
        return bytes(self._out)

    def _add(self, path: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        name = path.encode("utf-8", "surrogateescape") + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        self._out.extend(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        self._out.extend(b"\0" * (-len(self._out) % 4) + data)
        self._out.extend(b"\0" * (-len(self._out) % 4))


@dataclass(frozen=True)
class BzImage:
    """A bzImage cut into its setup code (real mode) and its kernel proper (protected mode)."""

    setup: bytes
    kernel: bytes

    @classmethod
    def split(cls, image: bytes) -> "BzImage":
        """Cuts the image at setup_sects (Documentation/arch/x86/boot.rst); LabError if it is not one."""
        if image[0x202:0x206] != b"HdrS" or struct.unpack_from("<H", image, 0x206)[0] < 0x202:
            raise LabError("the kernel is not a bzImage with boot protocol 2.02 or newer")
        cut = ((image[0x1F1] or 4) + 1) * 512
        return cls(image[:cut], image[cut:])

    def low(self, command_line: str, initrd_address: int, initrd_size: int) -> bytes:
        """The bytes for SETUP_ADDRESS: setup code with the loader's fields filled in, and the command line.

        Raises LabError when the kernel would cut the command line.
        """
        line = command_line.encode()
        if len(line) > _COMMAND_LINE_MAX or b"\0" in line:
            raise LabError(f"the kernel command line may have at most {_COMMAND_LINE_MAX} bytes")
        out = bytearray(self.setup)
        out[0x210] = 0xFF  # type_of_loader: undefined
        out[0x211] |= 0x80  # loadflags: CAN_USE_HEAP
        struct.pack_into("<II", out, 0x218, initrd_address, initrd_size)
        struct.pack_into("<H", out, 0x224, _COMMAND_LINE_OFFSET - 0x200)  # heap_end_ptr
        struct.pack_into("<I", out, 0x228, SETUP_ADDRESS + _COMMAND_LINE_OFFSET)  # cmd_line_ptr
        return bytes(out.ljust(_COMMAND_LINE_OFFSET, b"\0")) + line + b"\0"


def option_rom(code: bytes) -> bytes:
    """The code padded to ROM_SIZE, with the last byte chosen so that all bytes sum to 0 (mod 256)."""
    if len(code) >= ROM_SIZE:
        raise LabError(f"the boot ROM has {len(code)} bytes; {ROM_SIZE - 1} are the most")
    rom = bytearray(code.ljust(ROM_SIZE, b"\0"))
    rom[-1] = -sum(rom) % 256
    return bytes(rom)


def whole_cylinders(size: int) -> int:
    """The size in bytes rounded up to what Bochs accepts as a disk."""
    return -(-size // CYLINDER) * CYLINDER


def blank_disk(path: Path, size: int) -> None:
    """A sparse disk image of at least `size` bytes."""
    with path.open("wb") as disk:
        disk.truncate(whole_cylinders(size))
