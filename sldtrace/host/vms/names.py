"""The names of a VM, where they are from, and whether `--vm` selects it."""

import fnmatch
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_LIMIT = 1024  # characters of a name that are kept; libvirt and the VMMs allow fewer

# The kinds of names; see `Names`.
KEYS = ("name", "uuid", "id", "namespace", "pod")


@dataclass(frozen=True)
class Names:
    """The names of a VM; None where unknown. Not escaped.

    name: the administrator's name for it; uuid; id: the argument by which the tools of its VMM select it (a
    number of libvirt or Proxmox, an --id, a control socket); namespace: of KubeVirt; pod: UID of the
    Kubernetes pod that it runs in; source: for each known key, the option of the command line or the kind of
    cgroup that it is from.
    """

    name: str | None = None
    uuid: str | None = None
    id: str | None = None
    namespace: str | None = None
    pod: str | None = None
    source: Mapping[str, str] = field(default_factory=dict)

    def with_default(self, key: str, value: str | None, source: str) -> "Names":
        """A copy with the value under the key, unless the value is empty or the key is known already."""
        if not value or getattr(self, key) is not None:
            return self
        return replace(self, **{key: cut(value)}, source={**self.source, key: source})

    def fact(self) -> dict[str, Any]:
        """Plain JSON values: all keys, null where unknown, and `source`."""
        return {**{key: getattr(self, key) for key in KEYS}, "source": dict(self.source)}


def display_name(names: Mapping[str, str]) -> str:
    """One name of a VM, from its names by KEYS (empty: unknown); empty if none is known.

    The name, in KubeVirt with its namespace; without a name the id, then the UUID.
    """
    word = next((names[key] for key in ("name", "id", "uuid") if names[key]), "")
    return f"{names['namespace']}/{word}" if names["namespace"] and names["name"] else word


def process_label(process: Mapping[str, Any]) -> str:
    """The name of a process's VM, else its program; not escaped. process: see host.vms.process.describe."""
    vm = process.get("vm")
    return (display_name(vm) if vm else "") or str(process.get("comm") or "")


def cut(text: str) -> str:
    """The first 1024 characters; three dots at the end show that there are more."""
    return text if len(text) <= _LIMIT else text[: _LIMIT - 3] + "..."


def uuid(text: str) -> str | None:
    """The UUID in lower case, without the braces that VirtualBox accepts; None if the text is not a UUID."""
    bare = text.strip("{}").lower()
    return bare if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bare) else None


def matches_vm(description: Mapping[str, Any], wanted: str) -> bool:
    """Does `--vm WANTED` select this VM? `description` is that of host.vms.process.describe.

    wanted: the VM's name, UUID, id, the UID of its pod, NAMESPACE/NAME or NAMESPACE_NAME (as KubeVirt names
    its libvirt domains). Case matters, except in a UUID; `*` stands for any characters.
    """
    vm = description.get("vm")
    if not isinstance(vm, Mapping):
        return False
    known = {key: value for key in KEYS if isinstance(value := vm.get(key), str)}
    called = {value for key, value in known.items() if key != "namespace"}
    if "namespace" in known and "name" in known:
        called |= {known["namespace"] + between + known["name"] for between in "/_"}
    # Bytes that are not UTF-8 are escaped as in the description.
    text = os.fsencode(wanted).decode("utf-8", "backslashreplace")
    if (asked := uuid(text)) and asked == known.get("uuid"):
        return True
    pattern = text.replace("[", "[[]").replace("?", "[?]")  # of the shell's wildcards only `*`
    return any(fnmatch.fnmatchcase(each, pattern) for each in called)
