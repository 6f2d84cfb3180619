"""The length of a penalty by kernel version and tick, against the arithmetic of msecs_to_jiffies."""

from typing import Any

import pytest

from sldtrace.host import kallsyms
from sldtrace.model import generation, penalty
from tests.model.test_jiffies import tick_of

OLD, NEW = "6.11.11-amd64", "6.12.107+deb13-cloud-amd64"

# CONFIG_HZ, and what msleep_interruptible(10) sleeps before 6.12 and since (4381b895f544), in jiffies.
TABLE = [(100, 2, 1), (250, 4, 3), (300, 4, 3), (1000, 11, 10)]


@pytest.mark.parametrize(("hz", "before", "since"), TABLE)
def test_jiffies_by_tick_and_version(hz: int, before: int, since: int) -> None:
    for release, jiffies in ((OLD, before), (NEW, since)):
        found = penalty.for_kernel(release, tick_of(hz))
        assert found.sleep_jiffies == jiffies
        assert found.tick_ns == tick_of(hz)
        assert found.always_early_below_ns == (jiffies - 1) * tick_of(hz)
        assert found.always_completes_above_ns == found.shortest_sleep_ns == jiffies * tick_of(hz)
        assert found.longest_sleep_ns == (jiffies + 1) * tick_of(hz)


@pytest.mark.parametrize(
    ("release", "extra", "shared"),
    [
        ("5.18.19-051819-generic", True, False),
        ("5.19.0-46-generic", True, False),
        ("6.1.0-44-cloud-amd64", True, False),
        ("6.11.99", True, True),
        ("6.12", False, True),
        ("6.12.0-rc1+", False, True),
        ("6.12-arch1-1", False, True),
        ("6.14.11", False, True),
        ("6.15.0-061500-generic", False, False),
        ("6.20.1", False, False),
        ("7.0.10", False, False),
        ("10.1.2", False, False),
        ("4.20.17", True, False),
    ],
)
def test_what_the_version_decides(release: str, extra: bool, shared: bool) -> None:
    found = penalty.for_kernel(release, 1_000_000)
    assert found.sleep_jiffies == (11 if extra else 10)
    assert (found.shared_reenable, found.known) == (shared, True)


@pytest.mark.parametrize("release", ["", "unknown", "linux-6.12", "v6.12.1", "6", "6.", "six.twelve"])
def test_a_version_that_cannot_be_read_is_taken_for_the_slowest_kernel(release: str) -> None:
    found = penalty.for_kernel(release, 4_000_000)
    assert not found.known
    assert found.sleep_jiffies == 4


@pytest.mark.parametrize(
    ("facts", "always_completes_above_ns", "known"),
    [
        ({}, 16_000_000, False),
        ({"kernel": {}}, 16_000_000, False),
        ({"kernel": {"release": NEW}}, 12_000_000, True),
        ({"kernel": {"tick_ns": 10_000_000}}, 20_000_000, False),
        ({"kernel": {"release": NEW, "tick_ns": 1_000_000}}, 10_000_000, True),
        ({"kernel": {"release": OLD, "tick_ns": 1_000_000}}, 11_000_000, True),
        ({"kernel": 5}, 16_000_000, False),
        ({"kernel": {"release": 6.12, "tick_ns": "4"}}, 16_000_000, False),
        ({"kernel": {"release": NEW, "tick_ns": 0}}, 12_000_000, True),
        ({"kernel": {"release": NEW, "tick_ns": 999_999}}, 12_000_000, True),
        ({"kernel": {"release": NEW, "tick_ns": 10_000_001}}, 12_000_000, True),
    ],
)
def test_facts_that_are_missing(facts: dict[str, Any], always_completes_above_ns: int, known: bool) -> None:
    found = penalty.from_facts(facts)
    assert (found.always_completes_above_ns, found.known) == (always_completes_above_ns, known)


SWITCHED: dict[str, Any] = {
    "kernel": {"release": "6.1.0-50-cloud-amd64"},
    "split_lock": {"mode": "warn", "mitigate": 0},
}


def test_the_sysctl_switches_the_penalty_off_where_it_exists() -> None:
    assert not penalty.from_facts(SWITCHED).penalizes
    assert penalty.from_facts(SWITCHED).shared_reenable
    assert penalty.from_facts({**SWITCHED, "split_lock": {"mode": "warn", "mitigate": 1}}).penalizes
    missing = penalty.from_facts({**SWITCHED, "split_lock": {"mode": "warn", "mitigate": None}})
    assert missing.penalizes
    assert not missing.generation.switchable
    # The facts say nothing of it: by version.
    assert penalty.for_kernel(NEW, 4_000_000, mitigate=0).penalizes is False
    assert penalty.for_kernel("6.1.0", 4_000_000, mitigate=0).penalizes is False
    assert penalty.for_kernel("6.1.0", 4_000_000).mitigate is None
    assert penalty.for_kernel(NEW, 4_000_000).mitigate == 1


def test_symbols_go_before_the_version() -> None:
    """Debian's 6.1.176 has the work item for each CPU that came with 6.15."""
    others = kallsyms.GENERATION_SYMBOLS - {"setup_split_lock_delayed_work"}
    backport = {**SWITCHED["kernel"], "symbols": sorted(others)}
    assert penalty.from_facts({**SWITCHED, "kernel": backport}).generation is generation.PER_CPU
    for unknown in (None, [], [7], "x", ["split_lock_warn"]):
        facts = {**SWITCHED, "kernel": {**SWITCHED["kernel"], "symbols": unknown}}
        assert penalty.from_facts(facts).generation is generation.SWITCHABLE


@pytest.mark.parametrize(
    ("mode", "traps", "penalizes"),
    [("warn", True, True), ("fatal", True, False), ("off", False, False), ("ratelimit:5", False, False)],
)
def test_modes(mode: str, traps: bool, penalizes: bool) -> None:
    found = penalty.for_kernel(NEW, 4_000_000, mode=mode)
    assert (found.traps, found.penalizes) == (traps, penalizes)


def test_before_5_19_there_is_no_penalty_unless_a_thread_slept_in_it() -> None:
    assert not penalty.for_kernel("5.15.0", 4_000_000).penalizes
    assert penalty.for_kernel("5.15.0", 4_000_000, slept=True).penalizes
