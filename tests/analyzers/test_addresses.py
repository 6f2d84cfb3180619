"""The address of an instruction: its symbol, real mode, and guests of guests."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sldtrace
from sldtrace.analyzers import addresses
from sldtrace.analyzers.finding import Finding, Numbers
from tests.analyzers.shorthands import loops_of, one
from tests.analyzers.synthetic import FACTS, GUEST, RIP, counted, loop, trace, write

KERNEL = 0xFFFFFFFF81000052


def address_of(finding: Finding[Any]) -> str:
    return "".join(fact.text for fact in finding.facts if fact.label == "address")


def test_below_64_kib_it_may_be_an_offset_in_a_segment(tmp_path: Path) -> None:
    assert "in real mode its base (CS * 16)" in address_of(one(tmp_path, loop(200)))
    assert address_of(one(tmp_path, loop(200, rip=0x10000))) == ""
    program = [row | {"flags": row["flags"] & ~GUEST} for row in loop(200)]
    assert address_of(one(tmp_path, program)) == ""


@pytest.mark.parametrize(
    ("nested", "exits", "words"),
    [
        (True, [], "the host allows these, and VM exits were not counted"),
        (None, [], ""),
        (False, [], ""),
        (True, [counted(24, 1000, {10: 1000})], "the guest entered one of its own 1,000 times"),
        (True, [counted(1, 1000, {10: 1000})], ""),
    ],
)
def test_a_guest_that_has_guests(tmp_path: Path, nested: bool | None, exits: list[Any], words: str) -> None:
    opening = FACTS | {"kvm": {"module": "kvm_intel", "nested": nested}}
    text = address_of(one(tmp_path, loop(200, rip=KERNEL), opening=opening, more={"counts": exits}))
    assert (words in text) if words else not text


def test_the_symbol_is_in_headline_table_and_json(tmp_path: Path) -> None:
    file, names = write(tmp_path / "a.sld", loop(200, rip=KERNEL)), tmp_path / "kallsyms"
    names.write_text("ffffffff81000040 t set_bit\n")
    with sldtrace.open(file, symbols=names) as recorded:
        (finding,) = recorded.findings
        assert f"guest address {KERNEL:#x} (set_bit+0x12)" in finding.headline
        assert recorded.findings_table["symbol"].tolist() == ["set_bit+0x12"]
    with sldtrace.open(file) as recorded:
        assert recorded.findings_table["symbol"].tolist() == [""]


def test_a_programs_address_has_no_symbol_of_the_guest(tmp_path: Path) -> None:
    rows = [row | {"flags": row["flags"] & ~GUEST} for row in loop(200, rip=RIP)]
    (finding,) = loops_of(trace(tmp_path, rows))
    assert "(" not in finding.headline


@pytest.mark.parametrize(
    ("numbers", "vcpu", "guests"),
    [
        (SimpleNamespace(guest=True), None, True),
        (SimpleNamespace(guest=False), 0, False),
        (SimpleNamespace(), 0, True),
        (SimpleNamespace(), None, False),
    ],
)
def test_whose_address_a_finding_has(numbers: Any, vcpu: int | None, guests: bool) -> None:
    finding: Any = SimpleNamespace(numbers=numbers, subject=SimpleNamespace(vcpu=vcpu))
    assert addresses.is_guests(finding) is guests


def test_a_finding_of_the_host_has_the_address_of_a_guest() -> None:
    finding: Any = SimpleNamespace(numbers=SimpleNamespace(), subject=None)
    assert addresses.is_guests(finding)
    assert (Numbers().lost_ns, Numbers().affected) == (0, [])
