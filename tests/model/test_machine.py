"""The transitions: where each table lets a thread go, and that nothing leads nowhere."""

import pytest

from sldtrace.model import machine
from sldtrace.model.machine import Action, Event, State, Table
from tests.model.scenes import kernel

TABLES = {
    "penalty": machine.table(kernel()),
    "ignores_signals": machine.table(kernel(), ignores_signals=True),
    "not_penalized": machine.table(kernel(mitigate=0)),
    "task flag": machine.table(kernel("5.10")),
    "fatal": machine.table(kernel(mode="fatal")),
    "off": machine.table(kernel(mode="off")),
    "ratelimit": machine.table(kernel(mode="ratelimit:5")),
}


def releases(table: Table) -> set[tuple[State, Event]]:
    return {key for key, step in table.items() if step.action & (Action.DETECTION_OFF | Action.TASK_FLAG)}


@pytest.mark.parametrize("name", TABLES)
def test_each_state_that_is_reached_can_be_left(name: str) -> None:
    table = TABLES[name]
    left = {state for state, _ in table}
    assert {step.state for step in table.values()} - left <= {State.KILLED}


def test_who_lets_the_instruction_through() -> None:
    assert releases(TABLES["penalty"]) == {(State.QUEUE, Event.SEMAPHORE)}
    assert releases(TABLES["ignores_signals"]) == {(State.QUEUE, Event.SEMAPHORE)}
    assert releases(TABLES["not_penalized"]) == {(State.GUEST, Event.SPLIT_LOCK)}
    assert releases(TABLES["task flag"]) == {(State.GUEST, Event.SPLIT_LOCK)}
    assert not releases(TABLES["fatal"])


def test_a_signal_ends_sleep_and_wait_only_of_the_kernel_that_there_is() -> None:
    for state in (State.SLEEP, State.QUEUE):
        step = TABLES["penalty"][state, Event.SIGNAL]
        assert (step.state, step.action) == (State.OUT, Action.RETURN)
        assert (state, Event.SIGNAL) not in TABLES["ignores_signals"]
    assert TABLES["penalty"][State.SLEEP, Event.LATE_SIGNAL].state is State.QUEUE


@pytest.mark.parametrize("name", ["off", "ratelimit"])
def test_nothing_traps_without_detection(name: str) -> None:
    assert (State.GUEST, Event.SPLIT_LOCK) not in TABLES[name]


def test_a_kernel_without_the_sysctl_has_the_penalty() -> None:
    assert machine.table(kernel("6.12", mitigate=None)) == TABLES["penalty"]
