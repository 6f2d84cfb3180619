"""The guest of real VMMs: firmware.S with its settings, and where its counters are in the VM's memory."""

import struct
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("firmware.S")
ASSEMBLED = Path("/tmp/firmware")
"""Where the emulated host has it; see tests.machines.Boot.programs."""

PIT_HZ = 1_193_182
SPLIT = 62
"""An offset in the cache line at which a doubleword crosses the line's end."""

_SETTINGS = struct.Struct("<HHIH")
_SETTINGS_AT = 16
_DATA_AT, _DATA_SIZE = 0x2000, 0x100
DATA_END = _DATA_AT + 2 * _DATA_SIZE
_COUNTERS = struct.Struct("<3I")


@dataclass(frozen=True)
class Settings:
    """What the guest does.

    offset: of the operand in its line. pit_hz: interrupts of the PIT in a second, 0: none. every: the number
    of locks of which one is at that offset; the others are aligned. vcpus: those that run the loop.
    """

    offset: int = SPLIT
    pit_hz: int = 0
    every: int = 1
    vcpus: int = 1

    def written(self, image: bytes) -> bytes:
        """The image with these settings."""
        divisor = PIT_HZ // self.pit_hz if self.pit_hz else 0
        settings = _SETTINGS.pack(self.offset, divisor, self.every, self.vcpus > 1)
        return image[:_SETTINGS_AT] + settings + image[_SETTINGS_AT + len(settings) :]


@dataclass(frozen=True)
class Counters:
    """What one vCPU has done; each wraps at 2 to the power of 32."""

    loops: int
    ticks: int
    starts: int


def counters(memory: bytes, vcpu: int) -> Counters:
    """Of the guest's memory from address 0 to DATA_END."""
    at = _DATA_AT + _DATA_SIZE * vcpu
    return Counters(*_COUNTERS.unpack(memory[at : at + _COUNTERS.size]))
