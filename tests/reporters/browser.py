"""Debian's Chromium without a window, for tests of pages; they are skipped where it is not installed."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

needed = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

_CONSOLE = re.compile(r"CONSOLE(?:[(:]\d+\)?)?\W+(.*)")


def open_page(page: Path, folder: Path, *options: str) -> tuple[str, list[str]]:
    """The DOM after the page's script ran, and what the browser said on its console."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        "--window-size=1200,1600",
        *options,
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env={**os.environ, "HOME": str(folder)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [found[1] for line in done.stderr.splitlines() if (found := _CONSOLE.search(line))]


class Page(HTMLParser):
    """What a page says and has: texts in order, and every element with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"style", "script"} & set(self._inside):
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        """All of it, with one blank between two words."""
        return " ".join(" ".join(self.texts).split())
