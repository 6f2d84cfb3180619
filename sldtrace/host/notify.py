"""Reports the state of a service to systemd (sd_notify(3)); does nothing outside such a service."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping


class Notifier:
    """The service manager of this process, if there is one (Type=notify).

    environment: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them. No call blocks, and a
    failure is not an error, so that a recording goes on when the service manager cannot be reached.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        self._clock = clock
        self._last_ns: int | None = None
        self.interval_ns = _watchdog_ns(environment) // 2
        if self._address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self, status: str = "") -> None:
        """The service has started."""
        self._send("READY=1", status)

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send("", status)

    def alive(self) -> None:
        """Notifies the watchdog, at most twice in its interval; call it after each piece of work."""
        now = self._clock()
        if not self.interval_ns or (self._last_ns is not None and now - self._last_ns < self.interval_ns):
            return
        self._last_ns = now
        self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> None:
        """The service is about to end."""
        self._send("STOPPING=1", status)

    def close(self) -> None:
        """Closes the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, what: str, status: str = "") -> None:
        lines = [what] if what else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        if self._socket is None or not lines:
            return
        # A leading @ is the NUL of an abstract address.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(errors="replace"), address)


def _watchdog_ns(environment: Mapping[str, str]) -> int:
    pid, interval = environment.get("WATCHDOG_PID", ""), environment.get("WATCHDOG_USEC", "")
    if pid and pid != str(os.getpid()):
        return 0
    return int(interval) * 1000 if interval.isascii() and interval.isdigit() else 0
