"""A module that is imported when it is used first: pandas, which takes longer than all the rest."""

import importlib
from typing import Any


class Lazy:
    """Stands for the module of that name. Raises ModuleNotFoundError where it is used, not where it is named.

    A module that has it writes `from __future__ import annotations`, or its annotations would import it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
