"""How long a thread ran, waited for a CPU, and was throttled by the quota of its cgroups."""

import re
from dataclasses import dataclass
from pathlib import Path

_CGROUP = re.compile(r"^0::(/.*)$", re.MULTILINE)  # cgroup v2, Documentation/admin-guide/cgroup-v2.rst
_THROTTLED = re.compile(r"^throttled_usec (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class RunTimes:
    """Totals since the thread was created, in ns.

    run_ns, delay_ns: on a CPU, and runnable but waiting for one (Documentation/scheduler/sched-stats.rst).
    throttled_ns: of its cgroup and those above it, since they were created; 0 without cgroup v2 or a quota.
    """

    run_ns: int
    delay_ns: int
    throttled_ns: int


def read(
    tgid: int,
    tid: int,
    throttled: dict[str, int],
    proc: Path = Path("/proc"),
    cgroups: Path = Path("/sys/fs/cgroup"),
) -> RunTimes | None:
    """The times of a thread; None where it has ended, or the kernel has none (CONFIG_SCHED_INFO).

    throttled: ns by path of a cgroup, those that have been read; the function adds to it.
    """
    task = proc / str(tgid) / "task" / str(tid)
    try:
        run_ns, delay_ns, _ = map(int, (task / "schedstat").read_text().split())
        path = _CGROUP.search((task / "cgroup").read_text(errors="surrogateescape"))
    except (OSError, ValueError):
        return None
    found = _throttled_ns(path[1], throttled, cgroups) if path else 0
    return RunTimes(run_ns, delay_ns, found)


# Each level has its own quota, and counts what that one throttled.
def _throttled_ns(path: str, known: dict[str, int], cgroups: Path) -> int:
    if path not in known:
        total, folder = 0, path.rstrip("/")
        while folder:
            try:
                found = _THROTTLED.search((cgroups / folder[1:] / "cpu.stat").read_text())
            except OSError:
                found = None
            total += 1000 * int(found[1]) if found else 0
            folder = folder.rpartition("/")[0]
        known[path] = total
    return known[path]
