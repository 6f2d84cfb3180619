"""The level of detail: what is attached for it, the probes' switches, and the records of its changes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sldtrace.capture import detail
from sldtrace.capture.bpf.probes import LATE, LATE_COUNTS, LATE_TRAPS
from sldtrace.capture.bpf.sources import COUNTS, RECENT
from sldtrace.capture.detail import Detail
from sldtrace.capture.governor import Governor, Limits
from sldtrace.recording import schema

SECOND = 10**9
LEVELS = schema.current().enums["level"].values


class Probes:
    """Probes, their program and its controls; `backends` are those that can be attached."""

    def __init__(self, backends: dict[str, str]) -> None:
        self.controls: list[tuple[str, int]] = []
        self.armed: list[tuple[str, ...]] = []
        self.disarmed = 0
        self.attached: list[Any] = []
        self.count = 5
        counters = SimpleNamespace(drop_pending=lambda: 3)
        self.program = SimpleNamespace(
            set_control=lambda name, value: self.controls.append((name, value)), counters=counters
        )
        self._backends = backends

    def arm(self, wanted: tuple[str, ...]) -> list[Any]:
        self.armed.append(wanted)
        have = {probe.name for probe in self.attached}
        added = [
            SimpleNamespace(name=name, backend=backend, warning="" if backend else f"no {name}", fact=dict)
            for name, backend in self._backends.items()
            if name not in have
        ]
        self.attached += added
        return added

    def disarm(self) -> None:
        self.disarmed += 1
        self.attached.clear()


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, exits: str = RECENT, **lacks: str) -> None:
        names = ("kvm:kvm_entry", "kvm:kvm_exit", "msr:write_msr")
        self.probes = Probes({name: lacks.get(name.partition(":")[2], "tracepoint") for name in names})
        self.records: list[np.ndarray] = []
        self.facts: list[Any] = []
        self.messages: list[str] = []
        sink: Any = SimpleNamespace(
            append=lambda kind, records: self.records.append(records), facts_update=self.facts.append
        )
        probes: Any = self.probes
        monkeypatch.setattr(detail, "time", SimpleNamespace(monotonic_ns=lambda: 77))
        self.governor = Governor(exits, Limits(events=100))
        self.detail = Detail(self.governor, probes, sink, self.messages.append)
        self.detail.start()

    def controls(self) -> dict[str, int]:
        found = dict(self.probes.controls)
        self.probes.controls.clear()
        return found


def test_the_first_trap_attaches_what_is_late_and_idleness_detaches_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    assert (world.detail.level, world.detail.armed, world.probes.armed) == ("traps", False, [])
    assert world.controls() == {"LEVEL": LEVELS["TRAPS"]}
    world.detail.trapped(SECOND)
    assert (world.detail.level, world.detail.armed) == ("exits", True)
    assert world.probes.armed[0] == LATE
    assert world.controls() == {"LOCKS": 77, "EXITS": 77, "MSR": 77, "LEVEL": LEVELS["EXITS"]}
    assert world.facts == [{"probes": [{}, {}, {}]}]
    world.detail.trapped(2 * SECOND)
    assert len(world.records) == 2
    world.detail.each_second(32 * SECOND, 0, 0)
    assert (world.detail.level, world.detail.armed, world.probes.disarmed) == ("traps", False, 1)
    assert world.controls() == {"EXITS": 0, "MSR": 0, "LOCKS": 0, "LEVEL": LEVELS["TRAPS"]}
    assert world.detail.unfinished_exits == 3
    names = ("ns", "level", "previous", "probes")
    assert [[int(record[name][0]) for name in names] for record in world.records] == [
        [77, LEVELS["TRAPS"], LEVELS["TRAPS"], 5],
        [77, LEVELS["EXITS"], LEVELS["TRAPS"], 5],
        [77, LEVELS["TRAPS"], LEVELS["EXITS"], 5],
    ]
    reasons = schema.current().enums["reason"].values
    assert [int(record["reason"][0]) for record in world.records] == [
        reasons[name] for name in ("START", "TRAP", "IDLE")
    ]


def test_counts_alone_need_less_until_a_thread_traps(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, COUNTS)
    assert (world.detail.armed, world.probes.armed) == (True, [LATE_COUNTS])
    assert world.controls()["LOCKS"] == 77
    for _ in range(3):
        world.detail.trapped(SECOND)
    assert world.probes.armed[1:] == [(*LATE_COUNTS, *LATE_TRAPS)]
    assert "LOCKS" not in world.controls()  # was set when they were attached
    assert len(world.records) == 1


@pytest.mark.parametrize(
    ("lacks", "switched"),
    [("kvm_entry", {"LOCKS", "MSR"}), ("kvm_exit", {"LOCKS", "MSR"}), ("write_msr", {"LOCKS", "EXITS"})],
)
def test_what_cannot_be_attached_is_a_warning_and_not_watched(
    lacks: str, switched: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, **{lacks: ""})
    world.detail.trapped(SECOND)
    assert world.controls().keys() == switched | {"LEVEL"}
    assert [message.partition(":")[2] for message in world.messages] == [lacks]


def test_a_limit_is_said_with_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.detail.trapped(SECOND)
    world.detail.each_second(2 * SECOND, 1_234, 0)
    assert world.messages == ["1,234 records a second, more than 100: now recording counts only"]
    assert (int(world.records[-1]["measured"][0]), int(world.records[-1]["limit"][0])) == (1_234, 100)
    for second in (3, 4, 5):
        world.detail.each_second(second * SECOND, 0, 12.34)
    assert world.messages[1:] == [
        "the recording takes 12.3 % of a CPU, more than 10.0 %: now recording traps only"
    ]
    assert not world.detail.compress
    for second in range(6, 60):
        world.detail.trapped(second * SECOND)
        world.detail.each_second(second * SECOND, 0, 0)
    assert world.messages[2:] == [
        "the load is down: recording counts again",
        "the load is down: recording exits again",
    ]


def test_the_end_detaches_and_what_was_not_attached_has_nothing_unfinished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.detail.end()
    assert (world.probes.disarmed, world.detail.unfinished_exits) == (1, 0)
    world.detail.trapped(SECOND)
    world.detail.end()
    world.detail.end()
    assert (world.detail.armed, world.detail.unfinished_exits) == (False, 3)
