"""The sentence that comes first, and what has to be said beside it."""

import pytest

from sldtrace.kernlog import verdict
from tests.kernlog.test_survey import LINUX, surveyed, trap

BUS = "#DB: game/9 took a bus_lock trap at address: 0x1"
OOPS = "Oops: Split lock detected"


@pytest.mark.parametrize(
    ("lines", "kind", "sentence"),
    [
        ([], "nothing", "NO SPLIT LOCK in 0 lines"),
        (["x"], "nothing", "NO SPLIT LOCK in 1 line"),
        ([trap()], "guest-split-locks", "GUEST SPLIT LOCKS: vCPU thread CPU 0/KVM (TID 7) took one"),
        (
            [trap(), trap(tid=8), trap("dosemu", 9), BUS, OOPS],
            "guest-split-locks",
            "GUEST SPLIT LOCKS: vCPU threads CPU 0/KVM (TID 7), CPU 0/KVM (TID 8) took one, "
            "and 1 other thread",
        ),
        (
            [trap(tid=tid) for tid in range(5)],
            "guest-split-locks",
            "GUEST SPLIT LOCKS: vCPU threads CPU 0/KVM (TID 0), CPU 0/KVM (TID 1), CPU 0/KVM (TID 2) "
            "and 2 more took one",
        ),
        (
            [trap("dosemu", 9), trap("dosemu", 9), BUS, OOPS],
            "split-locks",
            "SPLIT LOCKS: 1 thread took one, none known as a vCPU by its name",
        ),
        ([BUS], "bus-locks", "BUS LOCKS: 1 thread took one (#DB); no split lock (#AC) is logged"),
        (
            [OOPS, BUS],
            "kernel-split-lock",
            "KERNEL SPLIT LOCK: the host's own kernel executed one, no guest did",
        ),
    ],
)
def test_sentences(lines: list[str], kind: str, sentence: str) -> None:
    found = verdict.conclude(surveyed(*lines))
    assert (found.kind, found.sentence) == (kind, sentence)


def limits(*lines: str) -> list[str]:
    return verdict.conclude(surveyed(*lines)).limits


def test_that_lines_are_not_traps_is_always_said() -> None:
    assert limits(trap()) == [verdict.NEVER_RATES]
    assert limits("x") == [verdict.ABSENCE]


def test_what_else_has_to_be_known() -> None:
    suppressed = "split_lock_warn: 1234 callbacks suppressed"
    assert verdict.SUPPRESSED.format(count="1,234") in limits(trap(), suppressed)
    assert verdict.CALLS in limits("  x-7 [000] 1.000000: split_lock_warn <-handle_guest_split_lock")
    assert verdict.FATAL in limits(trap().replace("took a", "fatal"))
    assert verdict.OOPS in limits(OOPS)


@pytest.mark.parametrize(
    ("release", "said"), [("5.18.19", True), ("5.19.0", False), ("6.1.0-26-amd64", False)]
)
def test_before_the_penalty(release: str, said: bool) -> None:
    assert (verdict.EARLIER.format(kernel=release) in limits(LINUX.format(release), trap())) is said


def test_an_old_kernel_counts_only_if_threads_trapped_on_it() -> None:
    assert limits(LINUX.format("5.10.1"), LINUX.format("6.1.1"), trap()) == [verdict.NEVER_RATES]


@pytest.mark.parametrize(
    ("line", "advised"), [(trap(), True), (trap("dosemu"), True), ("x", True), (BUS, False)]
)
def test_recording_is_advised_where_it_can_help(line: str, advised: bool) -> None:
    commands = [command for _, command in verdict.conclude(surveyed(line)).advice]
    assert ("sldtrace record -o incident.sld" in commands) is advised


def test_beside_a_recording_none_is_advised() -> None:
    (advice,) = verdict.conclude(surveyed(trap()), recorded=True).advice
    assert advice[1] == "sldtrace report incident.sld"


@pytest.mark.parametrize(
    ("name", "bus_lock", "text"),
    [
        ("warn", False, "penalized"),
        ("warn", True, "without a penalty"),
        ("fatal", False, "VMM"),
        ("fatal", True, "program"),
        ("ratelimit:5", True, "limited to that rate"),
        ("off", False, "off"),
        ("no-access", False, "cannot"),
    ],
)
def test_what_modes_mean(name: str, bus_lock: bool, text: str) -> None:
    assert text in verdict.meaning(name, bus_lock)
