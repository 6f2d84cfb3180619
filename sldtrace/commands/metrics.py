"""`sldtrace metrics`: serves the metrics of a running recorder to Prometheus."""

import ipaddress
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sldtrace.errors import SldtraceError, UsageError
from sldtrace.text.escape import escape

if TYPE_CHECKING:
    import ssl

FILE = Path("/run/sldtrace/metrics.prom")
"""Where the service's recorder writes them (sldtrace.service)."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=FILE, required=False)
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    default="127.0.0.1:9721",
    show_default=True,
    help="Where to serve /metrics.",
)
@click.option("--cert", type=click.Path(path_type=Path), help="The server's certificate (PEM), for HTTPS.")
@click.option("--key", type=click.Path(path_type=Path), help="Its private key (PEM).")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="Clients have to send this file's first line as the password, with any user name.",
)
def metrics(file: Path, listen: str, cert: Path | None, key: Path | None, password_file: Path | None) -> None:
    """Serve the metrics of a running recorder to Prometheus, until Ctrl-C or SIGTERM.

    FILE is that of `sldtrace record --metrics`; default: that of the service, /run/sldtrace/metrics.prom. It
    is read at each scrape. Without it the answer is 503: Prometheus then has no values, not old ones.

    Other addresses than those of this host itself need --cert, --key and --password-file: names of VMs are
    your tenants'. Where node_exporter runs, its textfile collector can read the file instead.
    """
    host, port = _address(listen)
    if (cert is None) != (key is None):
        raise UsageError("--cert and --key belong together", "give both, or neither")
    if not _is_loopback(host) and (cert is None or password_file is None):
        raise UsageError(
            f"--listen {escape(listen)} is open to others, and needs --cert, --key and --password-file",
            "or listen on 127.0.0.1, and have something scrape it there",
        )
    # http.server takes a third of the time that click does.
    from sldtrace.metrics.server import Server

    try:
        server = Server((host, port), file, _tls(cert, key), _password(password_file))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SldtraceError(f"cannot listen on {escape(listen)}: {why}") from None
    scheme = "https" if cert is not None else "http"
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"sldtrace: {scheme}://{shown}:{server.server_port}/metrics of {escape(str(file))}", err=True)
    # As Ctrl-C: an end as asked.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return
    finally:
        server.server_close()


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        raise UsageError(f"'{escape(text)}' is not like 127.0.0.1:9721 or [::1]:9721")
    return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(cert: Path | None, key: Path | None) -> "ssl.SSLContext | None":
    if cert is None:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or str(error)
        raise UsageError(f"{escape(str(cert))} and its key cannot be used: {reason}") from None
    return context


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        first = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"{escape(str(path))} cannot be read: {reason}") from None
    if not first:
        raise UsageError(f"{escape(str(path))} has no password", "write one into its first line")
    return first
