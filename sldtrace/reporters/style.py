"""How text for people is laid out: width and colour."""

import os
import shutil
import sys
from dataclasses import dataclass

from sldtrace.reporters.document import Tone

_CODES = {
    Tone.GOOD: "32;1",
    Tone.UNKNOWN: "36",
    Tone.NOTICE: "36;1",
    Tone.WARNING: "33;1",
    Tone.CRITICAL: "31;1",
}


@dataclass(frozen=True)
class Style:
    """How wide, and whether with colour."""

    width: int = 100
    colour: bool = False

    @classmethod
    def of_stdout(cls) -> "Style":
        """Fits the terminal, from 40 to 120 columns. Colour only on a terminal without NO_COLOR."""
        width = min(max(shutil.get_terminal_size((100, 24)).columns, 40), 120)
        return cls(width, sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def loud(self, text: str, tone: Tone | None) -> str:
        """The text in the colour of that tone, or as it is."""
        return self.paint(text, _CODES[tone]) if tone else text

    def paint(self, text: str, code: str) -> str:
        """The text in that colour (SGR code), or as it is."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text
