"""Merges updates into the facts of a host; the same rule for writers and readers."""

from collections.abc import Mapping
from typing import Any


def merge(facts: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with an update applied: groups (objects) are merged entry by entry, other values replaced.

    Entries of the update come last in their group.
    """
    merged = dict(facts)
    for name, value in update.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            value = {**{key: each for key, each in old.items() if key not in value}, **value}
        merged[name] = value
    return merged


def newest(facts: Mapping[str, Any], entries: int) -> dict[str, Any]:
    """The facts with at most the last `entries` entries of each group."""
    return {
        name: dict(list(value.items())[-entries:]) if isinstance(value, dict) else value
        for name, value in facts.items()
    }
