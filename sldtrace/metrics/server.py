"""Serves the file of metrics over HTTP, in a process of its own: the recorder waits for no client."""

import base64
import hmac
import socket
import ssl
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_CLIENTS = 16
"""At the same time; the connections of others are closed."""
TIMEOUT_S = 10.0
"""A client that does not send or take anything for so long is disconnected."""
MOST_BYTES = 16 << 20
"""Of the file: more is not what a recorder wrote."""


class Server(ThreadingHTTPServer):
    """address: host and port to listen on; path: of the file of metrics, read at each scrape.

    tls: None for HTTP; password: what clients have to send as Basic authentication, with any user name; None:
    nothing.

    Raises OSError if it cannot listen there.
    """

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], path: Path, tls: ssl.SSLContext | None, password: str | None
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.path, self._tls, self.password = path, tls, password
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Takes a connection, unless there are too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """A connection, in its thread: a client that is slow in the handshake delays no other."""
        try:
            request.settimeout(TIMEOUT_S)
            if self._tls is not None:
                try:
                    request = self._tls.wrap_socket(request, server_side=True)
                except (OSError, ValueError):
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "sldtrace", ""
    protocol_version = "HTTP/1.0"  # one request for each connection

    def do_GET(self) -> None:
        if not self._allowed():
            self._answer(HTTPStatus.UNAUTHORIZED, "a password is needed\n")
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, "the metrics are at /metrics\n")
        else:
            self._metrics()

    def _metrics(self) -> None:
        try:
            with open(self.server.path, "rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            why = f"no metrics: {error.strerror}. Does `sldtrace record --metrics` run?\n"
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, why)
            return
        if len(content) > MOST_BYTES:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "the file of metrics is too large\n")
            return
        self._answer(HTTPStatus.OK, content, CONTENT_TYPE)

    def _allowed(self) -> bool:
        if self.server.password is None:
            return True
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        try:
            _, _, given = base64.b64decode(value, validate=True).partition(b":")
        except ValueError:
            return False
        return kind.lower() == "basic" and hmac.compare_digest(given, self.server.password.encode())

    def _answer(self, status: HTTPStatus, body: str | bytes, kind: str = "text/plain; charset=utf-8") -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="sldtrace"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: a scrape every few seconds is no news."""
