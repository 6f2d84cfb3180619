"""Keeps what several analyzers need of one recording, as long as the recording is open."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from sldtrace.dataset.trace import Trace

T = TypeVar("T")


def per_trace(function: Callable[[Trace], T]) -> Callable[[Trace], T]:
    """The function, called once for each recording."""
    known: WeakKeyDictionary[Trace, T] = WeakKeyDictionary()

    @wraps(function)
    def remembered(trace: Trace) -> T:
        if trace not in known:
            known[trace] = function(trace)
        return known[trace]

    return remembered
