"""Each reason against a release is said, and only then."""

import pytest

from tools.release import reasons

READY = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-02\n\n- a change\n"


def test_a_tree_that_is_ready() -> None:
    assert reasons(READY, "", "v1.2.3\n", "1.2.3") == []


@pytest.mark.parametrize(
    ("changelog", "changed", "tags", "reason"),
    [
        (READY.replace("1.2.3", "1.2.2"), "", "v1.2.3\n", "no section '## [1.2.3] - DATE'"),
        (READY.replace("ed]\n", "ed]\n\n- one more\n"), "", "v1.2.3\n", "under [Unreleased]"),
        (READY, " M README.md\n", "v1.2.3\n", "not committed"),
        (READY, "", "v1.2.30\n", "no tag v1.2.3"),
    ],
)
def test_each_reason(changelog: str, changed: str, tags: str, reason: str) -> None:
    (found,) = reasons(changelog, changed, tags, "1.2.3")
    assert reason in found
