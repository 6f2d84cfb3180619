"""Sums of `lost` records by kind, cause and CPU."""

from collections.abc import Mapping

import numpy as np

from sldtrace.recording.layout import Records, Schema
from sldtrace.recording.timeline import Loss


def lost_sums(lost: Records) -> dict[tuple[int, int, int], int]:
    """The counts of `lost` records by (kind, cause, cpu), numbers as in bpf/events.h."""
    keys, inverse = np.unique(lost[["kind", "cause", "cpu"]], return_inverse=True)
    sums = np.zeros(len(keys), np.uint64)
    np.add.at(sums, inverse.reshape(-1), lost["count"])
    return {
        (int(key["kind"]), int(key["cause"]), int(key["cpu"])): int(total)
        for key, total in zip(keys, sums, strict=True)
    }


def named_losses(sums: Mapping[tuple[int, int, int], int], schema: Schema) -> list[Loss]:
    """These sums with the names that the schema of the file has for kinds and causes."""
    kinds, causes = (schema.enums.get(name) for name in ("kind", "lost_cause"))
    return [
        Loss(
            kinds.name_of(kind) if kinds else f"unknown-{kind}",
            causes.name_of(cause) if causes else f"unknown-{cause}",
            cpu,
            total,
        )
        for (kind, cause, cpu), total in sorted(sums.items())
    ]
