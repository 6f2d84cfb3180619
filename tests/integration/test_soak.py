"""The recorder beside VMs and programs that come and go: make soak, or SLDTRACE_SOAK=1 pytest with this file.

Its memory and its file stay flat, and every trap is accounted for. What ran is in soak.py.
"""

import os

import pytest

from sldtrace.dataset.accounts import account
from sldtrace.dataset.trace import Trace, load
from tests.conftest import Scenario

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif("SLDTRACE_SOAK" not in os.environ, reason="takes an hour: make soak"),
]

MORE_KB = 32 << 10
"""What the recorder may need for its findings (docs/recording.md), of more threads than run here."""
SPARE_KB = 4096


@pytest.fixture(scope="module")
def recorded(soak: Scenario) -> Trace:
    return load(soak.folder / "soak.sld")


def halves(values: list[int]) -> tuple[list[int], list[int]]:
    assert len(values) >= 10
    return values[: len(values) // 2], values[len(values) // 2 :]


def test_all_of_them_ran_and_the_recorder_ended_clean(soak: Scenario, recorded: Trace) -> None:
    assert soak.protocol["status"] == 0
    assert soak.protocol["statuses"] == [0] * len(soak.protocol["statuses"])
    assert len(soak.protocol["statuses"]) > 200
    assert recorded.recording.warnings == []


def test_memory_has_its_bound_and_does_not_grow_faster_and_the_file_stays_flat(soak: Scenario) -> None:
    memory = soak.protocol["memory"]
    first, second = halves(memory)
    assert max(memory) <= memory[0] + MORE_KB
    assert max(second) - max(first) <= max(first) - memory[0] + SPARE_KB
    first, second = halves(soak.protocol["disk"])
    assert max(second) <= 2 * max(first)


def test_every_trap_is_accounted_for(soak: Scenario, recorded: Trace) -> None:
    traps = account(recorded, "trap")
    counted = soak.protocol["counted"]
    assert counted["missed"] == 0
    assert traps.counted == counted["hits"] > 10_000
    assert (traps.lost, traps.unfinished, traps.filtered, traps.missing) == (0, 0, 0, 0)
    assert traps.discarded > traps.recorded > 0


def test_nothing_stays_attached(soak: Scenario) -> None:
    assert soak.protocol["left"]["before"] == soak.protocol["left"]["after"]
