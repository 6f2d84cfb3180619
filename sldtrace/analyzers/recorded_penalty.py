"""The penalty of the recorded kernel, by its facts and what its traps show: worked out once a recording."""

from sldtrace.analyzers.once import per_trace
from sldtrace.model import recorded

of = per_trace(recorded.penalty)
"""See model.recorded.penalty."""
