"""Recordings without the names that they have of hosts, VMs, processes and files, and without addresses.

A name is replaced by its kind and a number: in order of appearance, or one that a secret key makes of it. An
address is replaced by a number of the key. The same one is always replaced by the same. What is not known to
be harmless is left out.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sldtrace.host.vms.threads import vcpu_of
from sldtrace.recording.collect import Collection, Unreadable
from sldtrace.recording.layout import Records
from sldtrace.recording.timeline import Gap, Part, Timeline
from sldtrace.recording.wrapped import WrappedTimeline
from sldtrace.text.escape import comm as escaped

_KEPT = frozenset(
    {"tool", "clock", "clock_steps", "kernel", "cpu", "split_lock", "kvm", "probes", "exits", "limits"}
    | {"segment", "simulated", "ended_by", "seen", "unfinished", "filtered", "skipped", "cost"}
)
"""Facts in which there are no names of hosts, VMs or processes."""

_ADDRESS_BITS = 47  # of a user-space address
_NAME_BYTES = 4  # the name of a thread has 15 characters: thread-00c0ffee


class Redactor:
    """Replaces names and addresses. One for all that is to be compared; key: of the addresses, random."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(16) if key is None else key
        self._names: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def name(self, kind: str, name: str) -> str:
        """What stands for a name of that kind; an empty one stays empty."""
        if not name:
            return name
        found = self._names.get((kind, name))
        if found is None:
            found = self._names[kind, name] = f"{kind}-{self._number(kind, name)}"
        return found

    def _number(self, kind: str, name: str) -> str:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return str(self._counts[kind])

    def text(self, text: str) -> str:
        """A message in which the names of files and hosts are replaced."""
        listed = [(name, alias) for (kind, name), alias in self._names.items() if kind in ("file", "host")]
        for name, alias in sorted(listed, key=lambda pair: -len(pair[0])):
            text = text.replace(name, alias)
        return text

    def addresses(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """What stands for these addresses; 0 stays 0."""
        distinct, inverse = np.unique(values, return_inverse=True)
        made = [self._address(int(value)) for value in distinct]
        return np.array(made, np.uint64)[inverse.reshape(-1)]

    def facts(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Opening, added or closing facts."""
        found = {name: value for name, value in facts.items() if name in _KEPT}
        host = facts.get("host")
        if isinstance(host, dict):
            found["host"] = {
                name: self.name("host" if name == "name" else "boot", value)
                for name, value in host.items()
                if name in ("name", "boot_id") and isinstance(value, str)
            }
        processes = facts.get("processes")
        if isinstance(processes, dict):
            found["processes"] = {
                tgid: self._process(who) for tgid, who in processes.items() if isinstance(who, dict)
            }
        return found

    def timeline(self, recording: Timeline) -> "Redacted":
        """The recording as it is read from now on."""
        return Redacted(recording, self)

    def collection(self, found: Collection) -> Collection:
        """The recordings, and what could not be read; the notes have paths and are left out."""
        timelines = tuple(self.timeline(each) for each in found.timelines)
        return Collection(timelines, self.unreadable(found.unreadable), ())

    def unreadable(self, files: Iterable[Unreadable]) -> tuple[Unreadable, ...]:
        """Files that could not be read, without the reasons: they have paths."""
        names = [self.name("file", each.path) for each in files]
        return tuple(Unreadable(name, f"{name} cannot be read") for name in names)

    def comms(self, records: Records) -> Records:
        """Names of threads: those of vCPUs say only which vCPU it is, and stay."""
        found = records.copy()
        for value in np.unique(records["comm"]).tolist():
            name = escaped(bytes(value))
            if vcpu_of(name) is None:
                found["comm"][records["comm"] == value] = self.name("thread", name).encode()
        return found

    def _process(self, who: Mapping[str, Any]) -> dict[str, Any]:
        vmm, vm, comm = who.get("vmm"), who.get("vm"), who.get("comm")
        known = vmm if isinstance(vmm, str) else None
        found: dict[str, Any] = {"vmm": known}
        if isinstance(comm, str):
            found["comm"] = known or self.name("process", comm)
        if isinstance(vm, dict):
            kinds = {"name": "vm", "id": "vm-id", "uuid": "uuid", "namespace": "namespace", "pod": "pod"}
            found["vm"] = {
                key: self.name(kind, str(vm[key]))
                for key, kind in kinds.items()
                if isinstance(vm.get(key), str)
            }
        return found

    def _address(self, value: int) -> int:
        if not value:
            return 0
        digest = self._digest(value.to_bytes(8, "little"), 8)
        return int.from_bytes(digest, "little") >> (64 - _ADDRESS_BITS) | 1

    def _digest(self, value: bytes, size: int) -> bytes:
        return hashlib.blake2b(value, key=self._key, digest_size=size).digest()


class KeyedRedactor(Redactor):
    """One of several processes with the same key: a name has the same number in all of them."""

    def _number(self, kind: str, name: str) -> str:
        return self._digest(f"{kind}\0{name}".encode(errors="surrogateescape"), _NAME_BYTES).hex()


class Redacted(WrappedTimeline):
    """A timeline as `Redactor` shows it."""

    def __init__(self, recording: Timeline, redactor: Redactor) -> None:
        super().__init__(recording)
        self._redactor = redactor
        for part in recording.parts:
            redactor.name("file", part.name)
        host = recording.facts.get("host")
        if isinstance(host, dict) and isinstance(host.get("name"), str):
            redactor.name("host", host["name"])
        self.path = Path(redactor.name("file", recording.path.name))

    @property
    def facts(self) -> Mapping[str, Any]:
        """See Timeline."""
        return self._redactor.facts(self._recording.facts)

    @property
    def updates(self) -> Sequence[Mapping[str, Any]]:
        """See Timeline."""
        return [self._redactor.facts(each) for each in self._recording.updates]

    @property
    def closing(self) -> Mapping[str, Any] | None:
        """See Timeline."""
        closing = self._recording.closing
        return None if closing is None else self._redactor.facts(closing)

    @property
    def warnings(self) -> list[str]:
        """See Timeline."""
        return [self._redactor.text(each) for each in self._recording.warnings]

    @property
    def parts(self) -> Sequence[Part]:
        """See Timeline."""
        name = self._redactor.name
        return [replace(part, name=name("file", part.name)) for part in self._recording.parts]

    @property
    def gaps(self) -> Sequence[Gap]:
        """See Timeline."""
        name = self._redactor.name
        return [
            replace(gap, before=name("file", gap.before), after=name("file", gap.after))
            for gap in self._recording.gaps
        ]

    def changed(self, kind: str, records: Records) -> Records:
        """See WrappedTimeline."""
        names = records.dtype.names or ()
        if kind == "task" and "comm" in names:
            return self._redactor.comms(records)
        if not set(names) & {"rip", "info1"}:
            return records
        found = records.copy()
        if "rip" in names:
            found["rip"] = self._redactor.addresses(records["rip"])
        if "info1" in names:
            found["info1"] = 0  # of some VM exits an address
        return found
