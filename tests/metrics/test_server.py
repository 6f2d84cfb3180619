"""The server of metrics: what it answers, whom it refuses, and clients that are slow, many or hostile."""

import base64
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from sldtrace.metrics import server as module
from sldtrace.metrics.server import CONTENT_TYPE, MOST_CLIENTS, Server

TEXT = "sldtrace_traps_total 7\n"


@contextmanager
def serving(path: Path, tls: ssl.SSLContext | None = None, password: str | None = None) -> Iterator[str]:
    """The URL of a server of that file."""
    with Server(("127.0.0.1", 0), path, tls, password) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "metrics.prom"
    found.write_text(TEXT)
    return found


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode()


def port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def all_of(client: socket.socket) -> bytes:
    """What comes until the connection ends."""
    found = b""
    with suppress(OSError):
        while part := client.recv(4096):
            found += part
    return found


def test_it_answers_with_the_file_as_it_is_now(path: Path) -> None:
    with serving(path) as url:
        with urllib.request.urlopen(url) as answer:
            assert (answer.read().decode(), answer.headers["Content-Type"]) == (TEXT, CONTENT_TYPE)
        path.write_text("sldtrace_traps_total 8\n")
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"sldtrace_traps_total 8\n"
        assert status(url.replace("/metrics", "/../etc/passwd")) == 404
        path.unlink()
        assert status(url) == 503


def test_a_file_that_no_recorder_wrote(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", len(TEXT) - 1)
    with serving(path) as url:
        assert status(url) == 503


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 401),
        ({"Authorization": basic("wrong")}, 401),
        ({"Authorization": "Basic %%%"}, 401),
        ({"Authorization": "Bearer " + basic("s3cret").split()[1]}, 401),
        ({"Authorization": basic("s3cret")}, 200),
    ],
)
def test_a_password(path: Path, headers: dict[str, str], expected: int) -> None:
    with serving(path, password="s3cret") as url:
        assert status(url, **headers) == expected


def test_https(path: Path, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    more = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert))
    subprocess.run([*words.split(), *more], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    client = ssl.create_default_context(cafile=str(cert))
    with serving(path, tls) as url:
        # A client that does not begin the handshake does not delay others.
        silent = socket.create_connection(("127.0.0.1", port(url)))
        with silent, urllib.request.urlopen(url, context=client) as answer:
            assert answer.read().decode() == TEXT
        with socket.create_connection(("127.0.0.1", port(url))) as plain:
            plain.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert TEXT.encode() not in all_of(plain)


def test_clients_that_say_nothing_take_all_places_until_they_leave(path: Path) -> None:
    with serving(path) as url, ExitStack() as idle:
        clients = [
            idle.enter_context(socket.create_connection(("127.0.0.1", port(url))))
            for _ in range(MOST_CLIENTS)
        ]
        # One more is refused at once; it does not wait.
        with socket.create_connection(("127.0.0.1", port(url))) as more:
            assert more.recv(1) == b""
        for each in clients:
            with suppress(OSError):
                each.sendall(b"\0\xff\r\n\r\n")
            all_of(each)
        assert status(url) == 200


def test_clients_that_go_away_or_send_nonsense(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(path) as url:
        for said in (
            b"",
            b"GET",
            b"\x16\x03\x01",
            b"GET /metrics HTTP/9.9\r\n\r\n",
            b"POST /metrics HTTP/1.0\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port(url))) as client:
                client.sendall(said)
        assert status(url) == 200
    assert capfd.readouterr() == ("", "")
