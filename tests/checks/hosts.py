"""Facts of hosts that do not exist."""

from dataclasses import replace
from typing import Any

from sldtrace.checks.bootlog import BootLog
from sldtrace.checks.exposure import Facts
from sldtrace.host.distribution import Distribution
from sldtrace.host.split_lock import SplitLock
from sldtrace.model import penalty
from sldtrace.model.generation import PER_CPU, Generation

DEBIAN = Distribution("debian", "Debian")
LOG = BootLog(readable=True, begins=True)


def facts(
    mode: str = "warn",
    detects: bool = True,
    mitigate: int | None = 1,
    generation: Generation | None = PER_CPU,
    flags: str = "fpu vmx",
    kvm: str | None = "kvm_intel",
    **others: Any,
) -> Facts:
    """An Intel host of HZ=250 with Linux 6.15 that is exposed, unless asked otherwise."""
    lock = SplitLock(mode, detects, others.pop("bus", False), mitigate)
    given: dict[str, Any] = {
        "cpu": {"model name": "A CPU", "vendor_id": "GenuineIntel", "flags": flags},
        "lock": lock,
        "cmdline_mode": mode,
        "log": LOG,
        "generation": generation,
        "penalty": replace(
            penalty.for_kernel("6.15.0", 4_000_000, mode=mode, mitigate=mitigate),
            generation=generation or PER_CPU,
        ),
        "kvm": kvm,
    }
    return Facts(**{**given, **others})
