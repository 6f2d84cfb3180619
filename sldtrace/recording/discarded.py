"""The account of the chunks that the recorder discarded (--keep), as it is in the recording."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COUNT_END = 1 << 63
_MAX_LIST = 1 << 20


@dataclass
class Discarded:
    """The chunks of a recording that were discarded to keep to a limit (`record --keep`)."""

    below: int = 0  # chunks with a smaller sequence number
    records: dict[str, int] = field(default_factory=dict)  # by kind, that are in no other chunk
    first_ns: int = 0  # smallest time of these records
    last_ns: int = 0  # largest
    # Sums of the `lost` records among them, by (kind, cause, cpu) with the numbers of the schema.
    lost: dict[tuple[int, int, int], int] = field(default_factory=dict)
    limit_ns: int | None = None  # of --keep; None: no such limit
    limit_bytes: int | None = None

    def add(self, name: str, count: int, first_ns: int, last_ns: int) -> None:
        """Adds `count` records of a kind, with times in that range."""
        if any(self.records.values()):
            self.first_ns = min(self.first_ns, first_ns)
            self.last_ns = max(self.last_ns, last_ns)
        else:
            self.first_ns, self.last_ns = first_ns, last_ns
        self.records[name] = self.records.get(name, 0) + count

    def to_json(self) -> dict[str, Any]:
        """The account as in opening and end chunks; `parse` is the inverse."""
        return {
            "below": self.below,
            "records": self.records,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "lost": [[*key, count] for key, count in self.lost.items()],
            "limit_ns": self.limit_ns,
            "limit_bytes": self.limit_bytes,
        }


def parse(value: Any) -> Discarded | None:
    """The account in a chunk's JSON; None where there is none. Invalid entries are ignored."""
    if not isinstance(value, Mapping) or not is_count(value.get("below")) or not value["below"]:
        return None
    records, lost = value.get("records"), value.get("lost")
    return Discarded(
        below=value["below"],
        records={
            str(name): count
            for name, count in (records.items() if isinstance(records, Mapping) else ())
            if is_count(count)
        },
        first_ns=value["first_ns"] if is_count(value.get("first_ns")) else 0,
        last_ns=value["last_ns"] if is_count(value.get("last_ns")) else 0,
        lost={
            (entry[0], entry[1], entry[2]): entry[3]
            for entry in (lost[:_MAX_LIST] if isinstance(lost, list) else ())
            if isinstance(entry, list) and len(entry) == 4 and all(is_count(each) for each in entry)
        },
        limit_ns=value["limit_ns"] if is_count(value.get("limit_ns")) else None,
        limit_bytes=value["limit_bytes"] if is_count(value.get("limit_bytes")) else None,
    )


def is_count(value: Any) -> bool:
    """Is a value of facts, which may be anything, a number of things?"""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _COUNT_END
