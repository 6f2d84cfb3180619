"""`sldtrace service`: the systemd unit that keeps a recorder running, shown, installed or removed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from sldtrace import resources
from sldtrace.errors import SldtraceError
from sldtrace.text.escape import escape

NAME = "sldtrace.service"
FOLDER = Path("/etc/systemd/system")


@click.group()
def service() -> None:
    """Record all the time, as a systemd service that keeps to a limit on the disk.

    \b
    sldtrace service install && systemctl enable --now sldtrace
    systemctl status sldtrace
    sldtrace report /var/lib/sldtrace/host.0001.sld

    Options of `sldtrace record` go into /etc/default/sldtrace, as SLDTRACE_OPTIONS=...
    """


@service.command(name="print")
def print_() -> None:
    """Print the unit as it would be installed, with the reason for each of its options."""
    click.echo(unit(), nl=False)


@service.command()
@click.option("-f", "--force", is_flag=True, help="Overwrite a unit that was changed.")
def install(force: bool) -> None:
    """Write the unit to /etc/systemd/system, as root; nothing is started."""
    path, text = FOLDER / NAME, unit()
    if not shutil.which("systemctl"):
        raise SldtraceError("this host has no systemd", "run `sldtrace record` in what starts your services")
    try:
        if path.exists() and path.read_text() != text and not force:
            raise SldtraceError(f"{path} exists and is another one", "use --force to overwrite it")
        begun = path.with_name(f".{NAME}.new")
        begun.write_text(text)
        begun.chmod(0o644)
        begun.rename(path)
    except OSError as error:
        raise SldtraceError(f"cannot write {path}: {error.strerror}", "run it as root") from error
    _reload()
    click.echo(f"{path} is installed; next: systemctl enable --now sldtrace", err=True)


@service.command()
def remove() -> None:
    """Stop and disable the service and delete its unit, as root; recordings stay."""
    path = FOLDER / NAME
    if not path.exists():
        raise SldtraceError(f"{path} does not exist", "there is nothing to remove")
    if not os.access(FOLDER, os.W_OK):
        raise SldtraceError(f"cannot delete {path}: Permission denied", "run it as root")
    if shutil.which("systemctl"):
        _systemctl("disable", "--now", NAME)
    path.unlink()
    _reload()
    click.echo("the service is removed; its recordings are still in /var/lib/sldtrace", err=True)


def unit() -> str:
    """The unit's text for this installation; raises SldtraceError where the unit cannot name it."""
    path = executable()
    # What systemd would take for something else in a command line (systemd.service(5), systemd.syntax(7)).
    if any(character in path for character in " \t\"'\\%$;") or not path.isprintable():
        raise SldtraceError(f"systemd cannot start {escape(path)}", "install sldtrace in a plainer folder")
    text = (resources.systemd() / NAME).read_text(encoding="utf-8")
    return text.replace("@EXECUTABLE@", path)


def executable() -> str:
    """The absolute path of the `sldtrace` program that is running, or beside the Python that is."""
    for candidate in (Path(sys.argv[0]), Path(sys.executable).with_name("sldtrace")):
        if candidate.name == "sldtrace" and candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate.absolute())
    raise SldtraceError("there is no program `sldtrace` here", "install sldtrace with pip, see the README")


def _reload() -> None:
    if shutil.which("systemctl"):
        _systemctl("daemon-reload")


def _systemctl(*arguments: str) -> None:
    run = subprocess.run(["systemctl", *arguments], capture_output=True, text=True)
    if run.returncode:
        said = escape(run.stderr.strip().splitlines()[0]) if run.stderr.strip() else "it did not say why"
        click.echo(f"sldtrace: warning: systemctl {' '.join(arguments)} failed: {said}", err=True)
