"""Errors of the lab: each is one line, a hint, and an exit status."""

from sldtrace.errors import SldtraceError


class LabError(SldtraceError):
    """The lab could not be built, or the machine did not run the command to its end."""

    exit_status = 125


class LabTimeout(LabError):
    """The machine reached a limit and was ended."""

    exit_status = 124
