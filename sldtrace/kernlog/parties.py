"""Groups threads into the VMs and programs that they most probably belong to."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sldtrace.kernlog import attribution
from sldtrace.kernlog.attribution import EITHER, GUEST, VMM, Attribution, vmm_of
from sldtrace.kernlog.prefix import Stamp
from sldtrace.kernlog.survey import Survey, Thread
from sldtrace.text.escape import escape
from sldtrace.text.phrases import plural

_NAMES = {
    "qemu": "QEMU",
    "vmware": "VMware",
    "virtualbox": "VirtualBox",
    "firecracker": "Firecracker",
    "cloud-hypervisor": "Cloud Hypervisor",
}

# A VMM and a program create their threads one after another, so their TIDs are near each other.
_VM_GAP = 256
_PROGRAM_GAP = 64


@dataclass
class Party:
    """Threads of one VM or one program, as far as a log shows; at least one.

    host, boot, bus_lock: all of them have the same. who, certainty, reason: of attribution.Attribution, the
    least certain of the threads. by: from what it follows that the threads belong together.
    """

    threads: list[Thread]
    attribution: Attribution
    by: str
    addresses: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for thread in self.threads:
            self.addresses.update(thread.addresses)

    @property
    def host(self) -> str:
        """Not escaped."""
        return self.threads[0].host

    @property
    def boot(self) -> int:
        """Index into Survey.boots."""
        return self.threads[0].boot

    @property
    def bus_lock(self) -> bool:
        """#DB, not #AC."""
        return self.threads[0].kind.startswith("bus-lock")

    @property
    def lines(self) -> int:
        """How many lines of the log."""
        return sum(thread.lines for thread in self.threads)

    @property
    def is_vm(self) -> bool:
        """Do the threads run a VM?"""
        return self.attribution.who in (GUEST, EITHER)

    @property
    def name(self) -> str:
        """What it is, safe to print."""
        names = Counter(thread.name for thread in self.threads)
        vm = next((thread.vm for thread in self.threads if thread.vm), "")
        first = escape(max(names, key=lambda name: names[name])) or "(no name)"
        vmm = _NAMES.get(self.attribution.vmm, self.attribution.vmm)
        if vm:
            return f"VM {escape(vm)}"
        if self.is_vm:
            return f"a VM of {vmm}" if vmm else f"a VM of {first}"
        if self.attribution.who == VMM:
            return f"{vmm} itself"
        more = len(names) - 1
        return first if not more else f"{first} and {plural(more, 'other thread name')}"

    @property
    def tids(self) -> set[int]:
        """Of its threads; one may have lines of several kinds."""
        return {thread.tid for thread in self.threads}

    @property
    def are_vcpus(self) -> bool:
        """Have all threads the names of vCPU threads?"""
        return self.is_vm and all(thread.vcpu is not None for thread in self.threads)

    @property
    def count(self) -> str:
        """How many threads, in words."""
        return plural(len(self.tids), "vCPU" if self.are_vcpus else "thread")

    @property
    def first(self) -> Stamp:
        """The earliest time."""
        return min((thread.first for thread in self.threads), key=_order)

    @property
    def last(self) -> Stamp:
        """The latest time."""
        return max((thread.last for thread in self.threads), key=_order)

    @property
    def span_ns(self) -> int | None:
        """From the first line to the last one; None if the times are not known."""
        return span_ns(self.first, self.last)


def span_ns(first: Stamp, last: Stamp) -> int | None:
    """The time between two lines of one boot; None if it is not known."""
    if first.boot_ns is not None and last.boot_ns is not None:
        return last.boot_ns - first.boot_ns
    if first.wall_ns is not None and last.wall_ns is not None:
        return last.wall_ns - first.wall_ns
    return None


def group(survey: Survey) -> list[Party]:
    """The parties of all threads, in order of their first lines."""
    found: list[Party] = []
    classes: dict[tuple[object, ...], list[Thread]] = {}
    attributions = {id(thread): thread.attribution for thread in survey.traps()}
    for thread in survey.traps():
        each = attributions[id(thread)]
        is_vm = each.who in (GUEST, EITHER)
        bus = thread.kind.startswith("bus-lock")
        key = (thread.host, thread.boot, bus, is_vm, each.who == VMM, each.vmm if is_vm or each.vmm else "")
        classes.setdefault((*key, thread.vm), []).append(thread)
    for threads in classes.values():
        vm = threads[0].vm
        is_vm = attributions[id(threads[0])].who in (GUEST, EITHER)
        for together in [threads] if vm else _vms(threads) if is_vm else _programs(threads):
            certain = (attribution.CERTAIN, attribution.PROBABLE, attribution.POSSIBLE)
            least = max(
                (attributions[id(thread)] for thread in together), key=lambda a: certain.index(a.certainty)
            )
            by = (
                ""
                if len({thread.tid for thread in together}) == 1
                else "the running VM"
                if vm
                else "TIDs near each other"
            )
            found.append(Party(together, least, by))
    return sorted(found, key=lambda party: min(thread.line for thread in party.threads))


# A VM has each vCPU once.
def _vms(threads: list[Thread]) -> Iterator[list[Thread]]:
    together: list[Thread] = []
    for thread in sorted(threads, key=lambda each: each.tid):
        numbers = {each.vcpu: each.tid for each in together if each.vcpu is not None}
        far = together and thread.tid - together[-1].tid > _VM_GAP
        same = numbers.get(thread.vcpu) if thread.vcpu is not None else None
        if far or same not in (None, thread.tid):
            yield _in_order(together)
            together = []
        together.append(thread)
    yield _in_order(together)


# Of one program: the same name, or TIDs near each other, and an address in common or names of the same VMM.
def _programs(threads: list[Thread]) -> Iterator[list[Thread]]:
    together: list[Thread] = []
    names: set[bytes] = set()
    for thread in sorted(threads, key=lambda each: each.tid):
        common = any(_common(thread, each) for each in together[-1:])
        near = together and thread.tid - together[-1].tid <= _PROGRAM_GAP
        if together and not (thread.comm in names or (near and common)):
            yield _in_order(together)
            together, names = [], set()
        together.append(thread)
        names.add(thread.comm)
    yield _in_order(together)


def _common(one: Thread, other: Thread) -> bool:
    return bool(one.addresses.keys() & other.addresses.keys() or vmm_of(one.name))


def _in_order(threads: Iterable[Thread]) -> list[Thread]:
    return sorted(threads, key=lambda each: each.line)


def _order(stamp: Stamp) -> tuple[int, int]:
    return (stamp.wall_ns or 0, stamp.boot_ns or 0)
