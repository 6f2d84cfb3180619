"""A part of `make fuzz` with fixed seeds, and that the fuzzer sees what it is for."""

import random
from pathlib import Path

import pytest

from sldtrace.dataset import accounts
from sldtrace.recording.format import pack_file_header
from tests.fuzz import logs, mutations, outputs, run

INPUTS = 20


@pytest.fixture(scope="module")
def samples() -> list[bytes]:
    found = mutations.samples(run.SAMPLES)
    assert len(found) > 10
    return found


def test_a_recording_is_taken_apart_and_put_together_without_a_change(
    samples: list[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a.sld"
    for data in samples[:3]:
        parts = mutations.parts(data)
        made = pack_file_header() + b"".join(part.pack(random.Random(0)) for part in parts)
        shown = []
        for each in (data, made):
            path.write_bytes(each)
            shown.append(outputs.rendered(path))
        assert shown[0] == shown[1]


def test_the_same_seed_gives_the_same_bytes(samples: list[bytes]) -> None:
    first, second = ([mutations.damaged(samples[0], random.Random(seed)) for seed in range(9)] for _ in "ab")
    assert first == second
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("seed", range(INPUTS))
def test_damage_is_never_more_than_one_line(seed: int, samples: list[bytes], tmp_path: Path) -> None:
    rng = random.Random(seed)
    assert run.attempt(mutations.damaged(rng.choice(samples), rng), tmp_path) == ""


@pytest.mark.parametrize("seed", range(INPUTS))
def test_a_damaged_log_is_never_more_than_one_line(seed: int, tmp_path: Path) -> None:
    data = logs.damaged(random.Random(seed))
    assert data == logs.damaged(random.Random(seed))
    assert run.attempt(data, tmp_path, outputs.check_log) == ""


def test_each_sound_sample_has_every_output(samples: list[bytes], tmp_path: Path) -> None:
    for data in samples[:4]:
        assert run.attempt(data, tmp_path) == ""


@pytest.mark.parametrize(
    ("fault", "said"),
    [("1 / 0", "ZeroDivisionError"), ("bytearray(2 << 30)", "MemoryError"), ("warn('x')", "UserWarning")],
)
def test_the_fuzzer_sees_failures(
    fault: str, said: str, samples: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> bool:
        from warnings import warn

        return bool(eval(fault, {"warn": warn}))

    monkeypatch.setattr(accounts, "incomplete", failing)
    monkeypatch.setattr("sldtrace.reporters.overview.incomplete", failing)
    nothing = next(each for each in sorted(run.SAMPLES.glob("*.sld")) if "nothing" in each.name)
    assert said in run.attempt(nothing.read_bytes(), tmp_path)
