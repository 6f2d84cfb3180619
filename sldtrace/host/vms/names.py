"""What a VM is called, from where, and whether that is the one that somebody asks for."""

import fnmatch
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_LIMIT = 1024  # characters of a name that are kept; libvirt and the VMMs allow no such length

# The keys of a name; see `Names`.
KEYS = ("name", "uuid", "id", "namespace", "pod")


@dataclass(frozen=True)
class Names:
    """What a VM is called; None where nothing says it. Not escaped.

    name: what its administrator calls it; uuid; id: what the tools of its VMM take for it (libvirt's and
    Proxmox's number, Firecracker's --id, the socket of cloud-hypervisor and crosvm); namespace: of KubeVirt;
    pod: UID of the Kubernetes pod that it runs in; source: for each key that is known, which option of the
    command line or which kind of cgroup said so.
    """

    name: str | None = None
    uuid: str | None = None
    id: str | None = None
    namespace: str | None = None
    pod: str | None = None
    source: Mapping[str, str] = field(default_factory=dict)

    def told(self, key: str, value: str | None, source: str) -> "Names":
        """With the value under the key, unless there is none or something better is known already."""
        if not value or getattr(self, key) is not None:
            return self
        return replace(self, **{key: cut(value)}, source={**self.source, key: source})

    def fact(self) -> dict[str, Any]:
        """As a plain JSON value: all keys, null where unknown, and `source`."""
        return {**{key: getattr(self, key) for key in KEYS}, "source": dict(self.source)}


def called(names: Mapping[str, str]) -> str:
    """What a VM is called in one word, from its names by KEYS (empty: unknown); empty if none is known.

    The name, in KubeVirt with its namespace; where there is none, the id, then the UUID.
    """
    word = next((names[key] for key in ("name", "id", "uuid") if names[key]), "")
    return f"{names['namespace']}/{word}" if names["namespace"] and names["name"] else word


def cut(text: str) -> str:
    """At most 1024 characters of it, with three dots at the end where there were more."""
    return text if len(text) <= _LIMIT else text[: _LIMIT - 3] + "..."


def uuid(text: str) -> str | None:
    """A UUID in lower case, without the braces that VirtualBox takes; None if the text is none."""
    bare = text.strip("{}").lower()
    return bare if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bare) else None


def matches_vm(description: Mapping[str, Any], wanted: str) -> bool:
    """Is this the VM that `--vm WANTED` means? `description` is that of host.process.describe.

    wanted: the VM's name, UUID, id, the UID of its pod, NAMESPACE/NAME or NAMESPACE_NAME (KubeVirt calls its
    libvirt domains so), to the letter (a UUID in either case), or with `*` for any characters.
    """
    vm = description.get("vm")
    if not isinstance(vm, Mapping):
        return False
    known = {key: value for key in KEYS if isinstance(value := vm.get(key), str)}
    called = {value for key, value in known.items() if key != "namespace"}
    if "namespace" in known and "name" in known:
        called |= {known["namespace"] + between + known["name"] for between in "/_"}
    # The bytes of an argument that are not UTF-8 are written as in the description.
    text = os.fsencode(wanted).decode("utf-8", "backslashreplace")
    if (asked := uuid(text)) and asked == known.get("uuid"):
        return True
    pattern = text.replace("[", "[[]").replace("?", "[?]")  # of the wildcards of a shell, only the star
    return any(fnmatch.fnmatchcase(each, pattern) for each in called)
