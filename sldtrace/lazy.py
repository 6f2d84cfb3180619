"""pandas, imported when it is used first: it takes longer than all the rest, and a summary needs none.

A module that uses `pd` in annotations writes `from __future__ import annotations`, or they would import it.
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["Lazy", "pd"]


class Lazy:
    """Stands for the module of that name. Where it is missing, its first use raises ModuleNotFoundError."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Lazy("pandas")
