"""Names of the functions of KVM that waited for a lock (`caller` of stall records)."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from sldtrace.recording.layout import Records


class Callers:
    """functions: offset from the first one and name of each function of the module kvm, by offset."""

    def __init__(self, functions: Sequence[tuple[int, str]]) -> None:
        self._offsets = [offset for offset, _ in functions]
        self._names = [name for _, name in functions]
        self._known: dict[str, str] = {}

    def update(self, stalls: Records) -> dict[str, str] | None:
        """The fact kvm.functions, with all callers so far, if these records have a new one; else None."""
        before = len(self._known)
        for caller in np.unique(stalls["caller"]).tolist():
            position = bisect_right(self._offsets, caller) - 1
            if position >= 0:
                self._known.setdefault(str(caller), self._names[position])
        return dict(self._known) if len(self._known) > before else None
