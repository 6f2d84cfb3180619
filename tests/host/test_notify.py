"""The messages to systemd, on a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sldtrace.host.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = str(tmp_path / "notify") if request.param == "path" else f"@sldtrace-test-{os.getpid()}"
        listening.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        listening.settimeout(5)
        yield listening, name


def test_what_it_tells(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("recording to /a\nREADY=0")
    notifier.status("3 traps")
    notifier.alive()  # no watchdog was asked for
    notifier.stopping()
    messages = [listening.recv(1000).decode() for _ in range(3)]
    assert messages == ["READY=1\nSTATUS=recording to /a READY=0", "STATUS=3 traps", "STOPPING=1"]
    notifier.close()
    notifier.status("no socket")
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(1000)


def test_the_watchdog_is_fed_twice_in_its_time(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    now = 10**9
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environment, clock=lambda: now)
    fed = 0
    listening.setblocking(False)
    for _ in range(400):  # 20 s
        notifier.alive()
        now += 50_000_000
        try:
            fed += listening.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            continue
    assert fed == 4


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "/none/such"},
        {"NOTIFY_SOCKET": "vsock:2:1"},
        {"NOTIFY_SOCKET": "/" + "x" * 300, "WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_service_manager_there_is_no_error(environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    notifier.ready("x")
    notifier.alive()
    notifier.stopping()
    notifier.close()


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).interval_ns == 0
    assert Notifier({"WATCHDOG_USEC": "1000000"}).interval_ns == 500_000_000
