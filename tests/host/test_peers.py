"""Who is connected to the Unix sockets of a process: asked of this process itself."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sldtrace.host import peers

CLIENT = """
import socket, sys
one = socket.socket(socket.AF_UNIX)
one.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that is connected to a Unix socket of this one."""
    path = str(tmp_path / "monitor")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with subprocess.Popen(
            [sys.executable, "-c", CLIENT, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            assert process.stdin
            with server.accept()[0]:
                assert process.stdout.readline() == "connected\n"
                yield process
            process.stdin.close()


def test_the_process_at_the_other_end_is_named(client: "subprocess.Popen[str]") -> None:
    found = peers.connected(os.getpid())
    if found is None:
        pytest.skip("this kernel does not allow pidfd_getfd here")
    assert found[client.pid] == Path(f"/proc/{client.pid}/comm").read_text().strip()
    assert os.getpid() not in found


def test_other_sockets_are_left_out(tmp_path: Path) -> None:
    one, two = socket.socketpair()
    with one, two, socket.socket(socket.AF_INET) as inet:
        inet.bind(("127.0.0.1", 0))
        assert os.getpid() not in (peers.connected(os.getpid()) or {})


def test_without_the_right_it_is_not_known(
    client: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(number: int) -> int:
        raise PermissionError

    assert client.poll() is None
    monkeypatch.setattr(peers, "check", refused)
    assert peers.connected(os.getpid()) is None


def test_a_socket_that_is_gone_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / str(os.getpid()) / "fd"
    folder.mkdir(parents=True)
    (folder / "1000000").symlink_to("socket:[5]")
    assert peers.connected(os.getpid(), tmp_path) in ({}, None)


def test_a_process_without_sockets_and_one_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "7" / "fd"
    folder.mkdir(parents=True)
    (folder / "3").symlink_to("/dev/kvm")
    assert peers.connected(7, tmp_path) == {}
    assert peers.connected(8, tmp_path) is None
