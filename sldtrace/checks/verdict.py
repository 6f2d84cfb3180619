"""All checks of the host, and the verdict."""

from dataclasses import dataclass

from sldtrace.checks import cores, exposure, hypervisors, recordability, virtual_machines
from sldtrace.checks.exposure import Exposure
from sldtrace.checks.result import Check, Fix, Places, State
from sldtrace.host import access, distribution


@dataclass(frozen=True)
class Result:
    """The result of `sldtrace check`.

    exposure, why: the effect of a guest's split lock on this host; recordable: does sldtrace record work,
    None if that could not be checked; groups: the checks by title, in the order to show them.
    """

    exposure: Exposure
    why: str
    recordable: bool | None
    groups: dict[str, list[Check]]
    system: str

    @property
    def exposed(self) -> bool:
        """Can a split lock freeze or kill a guest?"""
        return self.exposure in (Exposure.FREEZES, Exposure.KILLS)

    @property
    def verdict(self) -> str:
        """The verdict for programs; see docs/check.md."""
        if self.exposure is Exposure.UNKNOWN:
            return "a guest, its host decides"
        if not self.exposed:
            return "not exposed"
        if self.recordable is None:
            return "exposed, recordability unknown"
        return "exposed" if self.recordable else "exposed but not recordable here"

    @property
    def bus_locks(self) -> bool:
        """Do bus locks of programs trap (#DB)?"""
        return any(check.name == "bus locks" and check.data.get("effect") for check in self.checks)

    @property
    def unknown(self) -> frozenset[str]:
        """The conditions of --fail-on about which nothing can be said."""
        modules = any(check.name == "other modules" and check.data.get("not_read") for check in self.checks)
        return frozenset(
            name
            for name, unknown in (
                ("exposed", self.exposure is Exposure.UNKNOWN),
                ("unrecordable", self.recordable is None),
                ("hypervisor", modules and not self.foreign_hypervisor),
            )
            if unknown
        )

    @property
    def checks(self) -> list[Check]:
        """All of them."""
        return [check for group in self.groups.values() for check in group]

    @property
    def foreign_hypervisor(self) -> bool:
        """Is a module loaded that runs guests without KVM?"""
        return any(
            check.name == "hypervisor module" and check.state is State.PROBLEM for check in self.checks
        )


EXPOSURE, MACHINES, CORES, MODULES, RECORDING = (
    "Exposure",
    "Virtual machines",
    "Cores",
    "Other hypervisors",
    "Recording",
)


def run(places: Places) -> Result:
    """Runs all checks; changes nothing. Raises SldtraceError if /proc cannot be read."""
    here = distribution.read(places.root)
    facts = exposure.read(places)
    what, why = exposure.evaluate(facts)
    privileged = access.privilege() is None
    freezes = what is Exposure.FREEZES
    recording = list(recordability.checks(places, here, facts.log))
    groups = {
        EXPOSURE: exposure.checks(facts, here),
        MACHINES: list(virtual_machines.checks(places, facts.penalty, freezes, access.sees_all_processes())),
        CORES: [cores.check(facts.lock, places)],
        MODULES: list(hypervisors.checks(hypervisors.scan(places), here)),
        RECORDING: recording,
    }
    return Result(what, why, recordable(recording, privileged), groups, here.name)


def recordable(checks: list[Check], privileged: bool) -> bool | None:
    """Does recording work? Only if it was tried; None if that could not be seen."""
    problems = {check.name for check in checks if check.state is State.PROBLEM}
    if not privileged:
        return False if problems - {"privilege", "tracefs"} else None
    if problems:
        return False
    tried = any(check.name == "trial" and check.state is not State.UNKNOWN for check in checks)
    return True if tried else None


def next_steps(result: Result) -> list[Fix]:
    """What to do next."""
    if result.exposure is Exposure.UNKNOWN:
        return [
            Fix("sldtrace probe", "measures in this guest what a split lock costs, and who charges it"),
            Fix("sldtrace check, on this guest's host", "it has what the host does about split locks"),
            Fix(
                "sldtrace log, on this guest's host",
                "it has a line where this VM's vCPU threads were penalized",
            ),
        ]
    if result.recordable is None:
        return [Fix("run sldtrace check as root: it can then check whether a recording works")]
    if result.exposed and result.recordable:
        return [Fix("sldtrace record --duration 30s --output host.sld", "while a VM is slow")]
    if result.exposed:
        return [
            fix
            for check in result.groups[RECORDING]
            if check.state is State.PROBLEM
            for fix in check.fixes[:1]
        ]
    return []
