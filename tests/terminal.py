"""A terminal for tests: tmux, with a command in its one window."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.waiting import until

MISSING = shutil.which("tmux") is None


class Terminal:
    """A tmux server of its own. The command is for the shell, which says "ended" and the status after it.

    environment: instead of this process's.
    """

    def __init__(
        self, folder: Path, size: tuple[int, int], command: str, environment: Mapping[str, str] = os.environ
    ) -> None:
        left_out = ("LESS", "TMUX", "COLUMNS", "LINES")
        kept = {name: value for name, value in environment.items() if name not in left_out}
        self._environment = kept | {"TERM": "xterm"}
        self._socket = str(folder / "tmux")
        columns, lines = map(str, size)
        # The shell has to outlive Ctrl-C.
        shell = f"trap : INT; {command}; echo ended $?; cat"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", lines, shell)

    def tmux(self, *arguments: str) -> str:
        """What tmux says."""
        command = ["tmux", "-S", self._socket, *arguments]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=True
        ).stdout

    def lines(self) -> list[str]:
        """What the screen shows now."""
        return self.tmux("capture-pane", "-p").splitlines()

    def shows(self, text: str, least: int = 1) -> list[str]:
        """The lines of the screen once `least` of them contain the text."""
        found: list[str] = []

        def shown() -> bool:
            found[:] = self.lines()
            return sum(text in line for line in found) >= least

        until(shown, f"{text!r} on the screen")
        return found

    def press(self, *keys: str) -> None:
        """Presses these keys, named as tmux names them."""
        self.tmux("send-keys", *keys)

    def close(self) -> None:
        """Ends the server and what runs in it."""
        self.tmux("kill-server")
