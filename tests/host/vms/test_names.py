"""Which VM `--vm` means."""

from typing import Any

import pytest

from sldtrace.host.vms.names import Names, matches_vm

UUID = "4dea22b3-1d52-4bdb-a2a4-0d6cc6c0d1f1"


def description(**known: str) -> dict[str, Any]:
    return {"comm": "qemu", "vmm": "qemu", "vm": Names(**known).fact()}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("web01", True),
        ("web0", False),
        ("Web01", False),
        ("web*", True),
        ("*01", True),
        ("w*b*1", True),
        ("*", True),
        ("w?b01", False),
        ("[w]eb01", False),
        ("3", True),
        (UUID, True),
        (UUID.upper(), True),
        (f"{{{UUID}}}", True),
        (UUID[:8], False),
        (UUID[:8] + "*", True),
        ("None", False),
        ("", False),
        ("qemu", False),
        ("-name", False),
    ],
)
def test_name_id_or_uuid(wanted: str, meant: bool) -> None:
    assert matches_vm(description(name="web01", id="3", uuid=UUID), wanted) is meant


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("web01", True),
        ("prod/web01", True),
        ("prod_web01", True),
        ("prod", False),
        ("prod/*", True),
        ("0f", True),
    ],
)
def test_kubevirt(wanted: str, meant: bool) -> None:
    assert matches_vm(description(name="web01", namespace="prod", pod="0f"), wanted) is meant


def test_wildcards_in_a_name_are_letters() -> None:
    assert matches_vm(description(name="a[b]?"), "a[b]?")
    assert matches_vm(description(name="a\nb"), "a*b")


def test_an_argument_that_is_no_text() -> None:
    assert matches_vm(description(name=r"web\xff"), "web\udcff")


@pytest.mark.parametrize("vm", [None, 5, "web01", [], {}, {"name": 5, "uuid": None, "id": ["web01"]}])
def test_descriptions_of_any_type(vm: Any) -> None:
    assert not matches_vm({"vm": vm}, "web01")
    assert not matches_vm({"vm": vm}, "*")
    assert not matches_vm({}, UUID)


def test_the_first_name_stays() -> None:
    found = (
        Names()
        .with_default("name", None, "a")
        .with_default("name", "", "b")
        .with_default("name", "x", "c")
        .with_default("name", "y", "d")
    )
    assert (found.name, found.source) == ("x", {"name": "c"})
