"""When more is recorded, and when less: one simulated second after the other."""

from dataclasses import dataclass
from typing import Any

import pytest

from sldtrace.capture.bpf.sources import EXITS
from sldtrace.capture.governor import Governor, Limits, Step
from sldtrace.recording import schema

SECOND = 1_000_000_000
BOOT = 5  # seconds after boot: CLOCK_MONOTONIC is small then
NAMES = ("traps", "counts", "exits")
TRAPS, COUNTS, EXIT = (schema.current().enums["level"].values[name.upper()] for name in NAMES)
MANY, FLOOD, DEAR = 30_000, 41_000, 15.0  # above the limits of 20,000 and 10.0


@dataclass
class Run:
    """A governor and its clock, in seconds; `news` has each step as second, level, reason."""

    governor: Governor

    def __post_init__(self) -> None:
        self.now = BOOT
        self.news: list[tuple[int, int, str]] = []

    def note(self, step: Step | None) -> None:
        if step:
            assert step.previous != step.level == self.governor.level
            self.news.append((self.now - BOOT, step.level, step.reason))

    def pass_by(self, seconds: int, events: float = 10, cpu: float = 0.1, trap: bool = True) -> "Run":
        """Seconds with so much load, and a trap in each."""
        for _ in range(seconds):
            self.now += 1
            if trap:
                self.note(self.governor.trapped(self.now * SECOND))
            self.note(self.governor.each_second(self.now * SECOND, events, cpu))
        return self


def run(exits: str = "recent", **limits: int) -> Run:
    return Run(Governor(exits, Limits(**limits)))


@pytest.mark.parametrize(
    ("exits", "start", "trapped"),
    [("recent", TRAPS, EXIT), ("all", EXIT, EXIT), ("counts", COUNTS, COUNTS), ("none", TRAPS, TRAPS)],
)
def test_where_each_mode_begins_and_what_a_trap_changes(exits: str, start: int, trapped: int) -> None:
    governor = Governor(exits)
    assert governor.start() == Step(start, start, "START")
    assert governor.trapped(BOOT * SECOND) == (Step(trapped, start, "TRAP") if trapped > start else None)
    assert governor.level == trapped
    assert governor.trapped(BOOT * SECOND + 1) is None


def test_what_is_written_is_compressed_as_long_as_there_is_time() -> None:
    made = run()
    compressed = []
    for cpu in (0.1, 4.9, 5.0, 4.9, 2.5, 2.4, 4.9):
        made.pass_by(1, cpu=cpu)
        compressed.append(made.governor.compress)
    assert compressed == [True, True, False, False, False, True, True]
    assert made.governor.level == EXIT  # no record less for it


def test_after_a_first_trap_it_is_not_known_whether_there_is_time() -> None:
    governor = Governor("recent")
    assert governor.compress
    governor.trapped(BOOT * SECOND)
    assert not governor.compress
    governor.each_second((BOOT + 1) * SECOND, 10, 2.6)
    governor.trapped((BOOT + 2) * SECOND)
    assert not governor.compress
    governor.each_second((BOOT + 2) * SECOND, 10, 2.4)
    governor.trapped((BOOT + 3) * SECOND)
    assert governor.compress


def test_every_mode_is_known() -> None:
    assert set(EXITS) == {"recent", "all", "counts", "none"}


# Up and down by traps


def test_calm_takes_off_what_a_trap_put_on_and_the_next_trap_puts_it_on_again() -> None:
    it = run().pass_by(3).pass_by(29, trap=False)
    assert it.news == [(1, EXIT, "TRAP")]
    it.pass_by(10, trap=False).pass_by(1)
    assert it.news == [(1, EXIT, "TRAP"), (33, TRAPS, "IDLE"), (43, EXIT, "TRAP")]


def test_calm_says_how_long_it_has_been() -> None:
    governor = Governor("recent", Limits(idle_ns=7 * SECOND))
    governor.trapped(100 * SECOND)
    assert governor.each_second(106 * SECOND, 0, 0) is None
    assert governor.each_second(108 * SECOND, 0, 0) == Step(TRAPS, EXIT, "IDLE", 8 * SECOND, 7 * SECOND)


@pytest.mark.parametrize("exits", ["all", "counts", "none"])
def test_what_was_asked_for_is_not_taken_off_when_it_is_calm(exits: str) -> None:
    assert run(exits).pass_by(1).pass_by(300, trap=False).news == []


# Down by load


@pytest.mark.parametrize(
    ("load", "reason", "measured", "limit"),
    [({"events": MANY}, "EVENTS", MANY, 20_000), ({"cpu": DEAR}, "CPU", 15_000, 10_000)],
)
def test_three_seconds_above_a_limit_are_one_level_less(
    load: dict[str, Any], reason: str, measured: int, limit: int
) -> None:
    it = run().pass_by(1)
    it.pass_by(2, **load)
    assert it.news == [(1, EXIT, "TRAP")]
    given = {"events": 10.0, "cpu": 0.1} | load
    it.now += 1
    step = it.governor.each_second(it.now * SECOND, given["events"], given["cpu"])
    assert step == Step(COUNTS, EXIT, reason, measured, limit)


def test_a_second_below_in_between_and_the_count_begins_anew() -> None:
    it = run().pass_by(1)
    for _ in range(10):
        it.pass_by(2, events=MANY).pass_by(1)
    assert it.news == [(1, EXIT, "TRAP")]


def test_a_limit_that_is_just_reached_is_kept() -> None:
    assert run().pass_by(30, events=20_000, cpu=10.0).news == [(1, EXIT, "TRAP")]


def test_the_first_second_counts_once() -> None:
    assert run().pass_by(2, events=MANY).news == [(1, EXIT, "TRAP")]
    assert run().pass_by(3, events=MANY).news[-1] == (3, COUNTS, "EVENTS")


def test_a_flood_is_not_waited_for() -> None:
    assert run().pass_by(1).pass_by(2, events=40_000).news == [(1, EXIT, "TRAP")]
    assert run().pass_by(1).pass_by(1, events=FLOOD).news == [(1, EXIT, "TRAP"), (2, COUNTS, "EVENTS")]


def test_down_to_traps_and_no_further() -> None:
    it = run().pass_by(1).pass_by(60, cpu=DEAR)
    assert it.news == [(1, EXIT, "TRAP"), (4, COUNTS, "CPU"), (7, TRAPS, "CPU")]


def test_a_trap_does_not_raise_what_the_load_has_lowered() -> None:
    it = run().pass_by(1).pass_by(3, events=MANY).pass_by(2, events=MANY / 2 + 1)
    assert it.governor.level == COUNTS
    assert it.governor.trapped(it.now * SECOND) is None


# Up again


def test_back_up_when_there_is_room_for_ten_seconds() -> None:
    it = run().pass_by(1).pass_by(3, events=MANY)
    assert it.news[-1] == (4, COUNTS, "EVENTS")
    it.pass_by(9)
    assert it.news[-1] == (4, COUNTS, "EVENTS")
    it.pass_by(1)
    assert it.news[-1] == (14, EXIT, "RECOVERED")


@pytest.mark.parametrize("load", [{"events": 10_001}, {"cpu": 5.1}])
def test_below_the_limit_is_not_far_below_it(load: dict[str, Any]) -> None:
    it = run().pass_by(1).pass_by(3, events=MANY).pass_by(300, **load)
    assert it.news[-1] == (4, COUNTS, "EVENTS")
    it.pass_by(1)
    assert it.news[-1] == (305, EXIT, "RECOVERED")


def test_one_level_at_a_time() -> None:
    it = run().pass_by(1).pass_by(6, cpu=DEAR).pass_by(60)
    assert [each[1:] for each in it.news[-2:]] == [(COUNTS, "RECOVERED"), (EXIT, "RECOVERED")]
    assert it.news[-1][0] - it.news[-2][0] >= 10


@pytest.mark.parametrize("quiet", [1, 5])
def test_each_relapse_doubles_the_wait_to_a_limit(quiet: int) -> None:
    it = run()
    waits = []
    for _ in range(8):
        while it.governor.level < EXIT:
            it.pass_by(1)
        it.pass_by(quiet - 1).pass_by(1, events=FLOOD)
        lowered = it.now
        while it.governor.level < EXIT:
            it.pass_by(1)
        waits.append(it.now - lowered)
    assert waits == [10, 20, 40, 80, 160, 320, 320, 320]


def test_the_first_time_it_is_too_much_is_no_relapse_soon_after_boot() -> None:
    """CLOCK_MONOTONIC begins at boot: 0 is no time at which anything was lowered."""
    it = run().pass_by(1, events=FLOOD)
    assert it.news[-1] == (1, COUNTS, "EVENTS")
    it.pass_by(10)
    assert it.news[-1] == (11, EXIT, "RECOVERED")


def waits(*quiet: int) -> list[int]:
    """After each flood, which comes a given number of quiet seconds after the level was raised again."""
    it = run().pass_by(1)
    found = []
    for seconds in quiet:
        it.pass_by(seconds - 1).pass_by(1, events=FLOOD)
        lowered = it.now
        while it.governor.level < EXIT:
            it.pass_by(1)
        found.append(it.now - lowered)
    return found


def test_what_held_for_twice_the_wait_is_no_relapse() -> None:
    assert waits(1, 19) == [10, 20]
    assert waits(1, 20) == [10, 10]


def test_the_wait_is_short_again_after_four_times_its_length() -> None:
    assert waits(1, 1, 80) == [10, 20, 20]
    assert waits(1, 1, 81) == [10, 20, 10]


@pytest.mark.parametrize("load", [{"events": 10_000}, {"cpu": 5.0}])
def test_half_of_the_limit_is_far_below_it(load: dict[str, Any]) -> None:
    it = run().pass_by(1).pass_by(3, events=MANY).pass_by(10, **load)
    assert it.news[-1] == (14, EXIT, "RECOVERED")


def test_room_without_a_trap_lately_is_no_reason_to_attach_anything() -> None:
    it = run().pass_by(1).pass_by(6, cpu=DEAR)
    before = list(it.news)
    it.pass_by(300, trap=False)
    assert it.governor.level == TRAPS
    # But then the first trap puts all of it on again.
    it.pass_by(1)
    assert it.news[len(before) :][-1][1:] == (EXIT, "TRAP")


def test_calm_comes_also_at_a_level_that_costs_more_than_half_of_the_limit() -> None:
    """There is no room for more, and that must not keep the probes attached."""
    it = run().pass_by(1).pass_by(3, cpu=DEAR).pass_by(60, cpu=6.0, trap=False)
    assert it.news[-1][1:] == (TRAPS, "IDLE")


@pytest.mark.parametrize(("exits", "levels"), [("all", [COUNTS, TRAPS]), ("counts", [TRAPS])])
def test_what_was_asked_for_goes_down_by_load_and_comes_back_without_a_trap(
    exits: str, levels: list[int]
) -> None:
    it = run(exits).pass_by(9, cpu=DEAR, trap=False)
    assert [level for _, level, _ in it.news] == levels
    it.pass_by(60, trap=False)
    assert [each[1:] for each in it.news[len(levels) :]] == [
        (level, "RECOVERED") for level in [*levels[-2::-1], Governor(exits).level]
    ]


def test_with_no_exits_wanted_load_changes_nothing() -> None:
    assert run("none").pass_by(30, events=FLOOD, cpu=90.0).news == []
