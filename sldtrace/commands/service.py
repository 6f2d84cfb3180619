"""`sldtrace service`: prints, installs and removes the systemd unit of a permanent recorder."""

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
PACKAGED = Path("/usr/lib/systemd/system") / NAME
"""The unit of a distribution's package; one of the same name in `FOLDER` hides it."""


@click.group()
def service() -> None:
    """Record permanently, as a systemd service with a limit on disk space.

    \b
    sldtrace service install && systemctl enable --now sldtrace
    systemctl status sldtrace
    sldtrace report /var/lib/sldtrace

    Put options of `sldtrace record` into /etc/default/sldtrace, as SLDTRACE_OPTIONS=...
    """


@service.command(name="print")
def print_() -> None:
    """Print the unit, with a reason for each of its options."""
    click.echo(unit(), nl=False)


@service.command(short_help="Write the unit to /etc/systemd/system, as root.")
@click.option(
    "-f", "--force", is_flag=True, help="Overwrite a unit that was changed, and hide one of a package."
)
def install(force: bool) -> None:
    """Write the unit to /etc/systemd/system, as root, without starting it."""
    path, text = FOLDER / NAME, unit()
    if not shutil.which("systemctl"):
        raise SldtraceError("this host has no systemd", "start `sldtrace record` by other means")
    if PACKAGED.exists() and not force:
        raise SldtraceError(
            f"a package has installed the unit: {PACKAGED}", "use it: systemctl enable --now sldtrace"
        )
    try:
        if path.exists() and path.read_text() != text and not force:
            raise SldtraceError(f"{path} exists and is different", "use --force to overwrite it")
        begun = path.with_name(f".{NAME}.new")
        begun.write_text(text)
        begun.chmod(0o644)
        begun.rename(path)
    except OSError as error:
        raise SldtraceError(f"cannot write {path}: {error.strerror}", "run it as root") from error
    _reload()
    click.echo(f"{path} is installed; next: systemctl enable --now sldtrace", err=True)


@service.command(short_help="Stop the service and delete its unit, as root.")
def remove() -> None:
    """Stop and disable the service and delete its unit, as root; recordings are kept."""
    path = FOLDER / NAME
    if not path.exists():
        if PACKAGED.exists():
            raise SldtraceError(
                f"{PACKAGED} is of a package",
                "stop it with systemctl disable --now sldtrace, or remove the package",
            )
        raise SldtraceError(f"{path} does not exist", "there is nothing to remove")
    if not os.access(FOLDER, os.W_OK):
        raise SldtraceError(f"cannot delete {path}: Permission denied", "run it as root")
    if shutil.which("systemctl"):
        _systemctl("disable", "--now", NAME)
    path.unlink()
    _reload()
    click.echo("the service is removed; its recordings are still in /var/lib/sldtrace", err=True)


def unit() -> str:
    """The text of the unit for this installation; raises SldtraceError if it cannot contain its path."""
    path = executable()
    # Characters with a meaning in the command line of a unit (systemd.service(5), systemd.syntax(7)).
    if any(character in path for character in " \t\"'\\%$;") or not path.isprintable():
        raise SldtraceError(
            f"systemd cannot start {escape(path)}", "install sldtrace in a folder without special characters"
        )
    text = (resources.systemd() / NAME).read_text(encoding="utf-8")
    return text.replace("@EXECUTABLE@", path)


def executable() -> str:
    """The absolute path of the running `sldtrace` program, or of the one next to this Python."""
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
        said = escape(run.stderr.strip().splitlines()[0]) if run.stderr.strip() else "no reason given"
        click.echo(f"sldtrace: warning: systemctl {' '.join(arguments)} failed: {said}", err=True)
