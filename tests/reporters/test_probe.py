"""What `sldtrace probe` says of each verdict."""

import pytest

from sldtrace.litmus.verdict import Verdict
from sldtrace.reporters import probe
from sldtrace.reporters.formats import FORMATS
from sldtrace.reporters.style import Style
from tests.commands.test_probe import RESULTS


def text(name: str) -> str:
    return FORMATS["text"].render(probe.build(RESULTS[name]), Style())


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("own", "PENALTY OF THIS KERNEL: a split lock that traps costs 14 ms here"),
        ("outside", "PENALTY FROM OUTSIDE: a split lock that traps costs 11.1 ms here"),
        ("none", "NO PENALTY: a split lock costs 2 us here, an aligned lock 0.3 us"),
        ("fatal", "FATAL: a split lock ends the program by SIGBUS here"),
        ("unclear", "UNCLEAR: "),
    ],
)
def test_the_verdict_comes_first(name: str, first: str) -> None:
    assert text(name).startswith(first)


def test_every_verdict_has_a_tone() -> None:
    assert set(probe._TONES) == set(Verdict)


def test_the_livelock_follows_with_the_models_word() -> None:
    said = text("frozen")
    assert "LIVELOCK: a program with a 1 ms timer does not get past a split lock" in said
    assert "did not complete in 300 ms; the model predicts so." in said


def test_the_model_stands_beside_the_measurement() -> None:
    assert "predicted  penalty of this kernel: 12 to 16 ms, then none for 8 to 12 ms" in text("own")


def test_only_the_host_can_change_a_penalty_from_outside() -> None:
    assert "only the host can change that" in " ".join(text("outside").split())
