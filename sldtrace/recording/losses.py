"""Sums of `lost` records by kind, cause and CPU."""

import numpy as np

from sldtrace.recording.layout import Records


def lost_sums(lost: Records) -> dict[tuple[int, int, int], int]:
    """The counts of `lost` records by (kind, cause, cpu), numbers as in bpf/events.h."""
    keys, inverse = np.unique(lost[["kind", "cause", "cpu"]], return_inverse=True)
    sums = np.zeros(len(keys), np.uint64)
    np.add.at(sums, inverse.reshape(-1), lost["count"])
    return {
        (int(key["kind"]), int(key["cause"]), int(key["cpu"])): int(total)
        for key, total in zip(keys, sums, strict=True)
    }
