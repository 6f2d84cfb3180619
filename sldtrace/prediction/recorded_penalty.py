"""The penalty of a recorded kernel: by its facts, and by what its traps show."""

from sldtrace.dataset import folding
from sldtrace.dataset.trace import Trace
from sldtrace.model.penalty import Penalty


def penalty(trace: Trace) -> Penalty:
    """See folding.Folded.penalty."""
    return folding.fold(trace).penalty
