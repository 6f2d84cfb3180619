"""How text for people is laid out: width and colour."""

import os
import shutil
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How wide, and whether with colour."""

    width: int = 100
    colour: bool = False

    @classmethod
    def of_stdout(cls) -> "Style":
        """Fits the terminal, within reason; colour only on one, and not against NO_COLOR."""
        width = min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)
        return cls(width, sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def loud(self, text: str, code: str) -> str:
        """The text in that colour (SGR code), or as it is."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text
