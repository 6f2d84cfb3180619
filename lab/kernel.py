"""The kernels of the lab: the one table that tests, examples, help and docs derive from."""

import re
from dataclasses import dataclass

from lab.failures import LabError


@dataclass(frozen=True)
class Kernel:
    """One stock Debian kernel, and what tests know of it.

    name: its name in the lab. suite: the Debian suite of its metapackage. hz: CONFIG_HZ.
    sleep_jiffies: how long msleep_interruptible(10) sleeps at that HZ (one jiffy more before 6.12,
    4381b895f544). no_progress_ms, progress_ms: the penalty on and a timer of N ms before each
    KVM_RUN, up to which timer a looping guest finishes nothing, and from which on something: of the
    timers that the tests sweep. generation: the name in sldtrace.model.generation, which follows from
    727209376f49 (6.2) and c929d08df8be (6.15), both in Debian's 6.1, too. exit_fields: fields of
    kvm:kvm_exit that not every kernel has. aliases: a regular expression of other names.
    """

    name: str
    suite: str
    hz: int
    sleep_jiffies: int
    no_progress_ms: int
    progress_ms: int
    generation: str
    exit_fields: frozenset[str] = frozenset()
    aliases: str = ""

    @property
    def package(self) -> str:
        """The metapackage that depends on the kernel's image, as apt names it."""
        return f"linux-image-cloud-amd64/{self.suite}"

    @property
    def tick_ns(self) -> int:
        """The length of a jiffy."""
        return 1_000_000_000 // self.hz

    @property
    def penalty_ms(self) -> tuple[int, int]:
        """The least and the most that a sleep lasts that no signal ends: it begins between two ticks."""
        tick_ms = 1000 // self.hz
        return self.sleep_jiffies * tick_ms, (self.sleep_jiffies + 1) * tick_ms


_TABLE = (
    Kernel("6.1", "bookworm", 250, 4, 12, 17, "6.15 and later"),
    Kernel("6.12", "trixie", 250, 3, 7, 13, "6.2 to 6.14"),
    Kernel(
        "sid",
        "sid",
        250,
        3,
        7,
        13,
        "6.15 and later",
        exit_fields=frozenset({"requests"}),
        aliases=r"unstable|([7-9]|\d\d)(\.(x|\d+)){0,2}",
    ),
)
KERNELS = {kernel.name: kernel for kernel in _TABLE}
DEFAULT = "6.12"


def canonical(name: str) -> str:
    """The lab's name of a kernel: a name of the table or an alias; LabError when it is neither."""
    name = name.lower().removeprefix("v")
    for kernel in KERNELS.values():
        if name == kernel.name or (kernel.aliases and re.fullmatch(kernel.aliases, name)):
            return kernel.name
    raise LabError(f"the lab has no kernel {name!r}", f"it has {', '.join(KERNELS)}")
