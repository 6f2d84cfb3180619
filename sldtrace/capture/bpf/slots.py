"""The slots of the threads that the probes follow (bpf/thread.bpf.c): how many there are, which are free."""

import contextlib

from sldtrace.capture.bpf import syscalls
from sldtrace.host import kernel

_PER_CPU = 128
_FEWEST = 2_048
_MOST = 16_384


def count() -> int:
    """Threads that can be followed at a time on this host: 128 for each CPU, 2,048 to 16,384.

    A slot takes 5.7 kB of the kernel's memory (struct sld_vcpu and struct sld_thread of thread.bpf.c), so
    all of them 12 to 94 MB; finding the slot of a thread takes 8 MiB on every host. At most 32,766: a slot is
    a number of 15 bits.
    """
    return min(max(_PER_CPU * kernel.possible_cpus(), _FEWEST), _MOST)


def fill(free_slots: int) -> None:
    """Makes all slots free, of which the lowest are used first. free_slots: file descriptor of the map."""
    for slot in range(count(), 0, -1):
        syscalls.map_push(free_slots, slot.to_bytes(4, "little"))


def release(free_slots: int, slot: int) -> None:
    """Makes a slot free again."""
    with contextlib.suppress(OSError):
        syscalls.map_push(free_slots, slot.to_bytes(4, "little"))
