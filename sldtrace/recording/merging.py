"""Merges updates into the facts of a host; the same rule for writers and readers."""

from collections.abc import Iterable, Mapping
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


def merged(facts: Mapping[str, Any], updates: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts with all updates applied in their order, in linear time; the result is as that of `merge`."""
    result = dict(facts)
    owned: dict[str, dict[str, Any]] = {}  # groups of the result that are no one else's
    for update in updates:
        for name, value in update.items():
            old = result.get(name)
            if not (isinstance(old, dict) and isinstance(value, dict)):
                result[name] = value
                owned.pop(name, None)
                continue
            if name not in owned:
                result[name] = owned[name] = dict(old)
            group = owned[name]
            for key, each in value.items():
                group.pop(key, None)
                group[key] = each
    return result


def newest(facts: Mapping[str, Any], entries: int) -> dict[str, Any]:
    """The facts with at most the last `entries` entries of each group."""
    return {
        name: dict(list(value.items())[-entries:]) if isinstance(value, dict) else value
        for name, value in facts.items()
    }
