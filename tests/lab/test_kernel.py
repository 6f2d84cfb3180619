"""The lab's kernels: their names, what the model says of them, and the data that is kept of each."""

import re
from pathlib import Path

import pytest

from lab import kernel
from lab.failures import LabError
from lab.kernel import DEFAULT, KERNELS
from sldtrace.model import generation, penalty

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *((name, name) for name in KERNELS),
        ("7.x", "sid"),
        ("7.2", "sid"),
        ("v6.12", "6.12"),
        ("SID", "sid"),
    ],
)
def test_names(given: str, name: str) -> None:
    assert kernel.canonical(given) == name


@pytest.mark.parametrize("unknown", ["", "6", "6.2", "5.10", "7.x; reboot", "trixie"])
def test_an_unknown_kernel_is_answered_with_the_known_ones(unknown: str) -> None:
    with pytest.raises(LabError, match=re.escape(", ".join(KERNELS))):
        kernel.canonical(unknown)


def test_the_default_is_one_of_them() -> None:
    assert DEFAULT in KERNELS


@pytest.mark.parametrize("each", KERNELS.values(), ids=KERNELS)
def test_the_penalty_is_that_of_the_model(each: kernel.Kernel) -> None:
    """Of sid the model is asked about a newer version than all of its thresholds."""
    release = each.name if each.name[0].isdigit() else "99.0"
    rules = penalty.for_kernel(release, each.tick_ns)
    assert rules.sleep_jiffies == each.sleep_jiffies
    shortest, longest = each.penalty_ms
    assert (rules.shortest_sleep_ns, rules.longest_sleep_ns) == (shortest * 1_000_000, longest * 1_000_000)
    assert each.no_progress_ms * 1_000_000 <= rules.always_early_below_ns
    assert each.progress_ms * 1_000_000 > rules.always_completes_above_ns
    assert each.generation in [one.name for one in generation.GENERATIONS if one.switchable]


@pytest.mark.parametrize(
    ("folder", "suffixes"), [("host/data/tracefs", [""]), ("model/data", [".json", ".sld"])]
)
def test_each_kernel_has_its_data_and_no_other(folder: str, suffixes: list[str]) -> None:
    kept = {path.name for path in (TESTS / folder).iterdir()}
    assert kept == {f"{name}{suffix}" for name in KERNELS for suffix in suffixes}
