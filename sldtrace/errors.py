"""Expected failures: one line for the user and a documented exit status, without a traceback."""

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_FINDING = 3
EXIT_UNREADABLE = 4
EXIT_UNKNOWN = 5
EXIT_INTERRUPTED = 130

EXIT_STATUSES = {
    EXIT_OK: "success",
    EXIT_ERROR: "error: one line on stderr says what is wrong and what to do",
    EXIT_USAGE: "usage error",
    EXIT_FINDING: "`report`, `fleet`: a finding at or above `--fail-on`; `check`, `log`, `probe`: the "
    "`--fail-on` condition holds; `record`: `--until` found a loop; `compare`: not what `--expect` names",
    EXIT_UNREADABLE: "`report`, `fleet`, `log`: some files could not be read, or not to their end: they are "
    "named, and the output is about the rest",
    EXIT_UNKNOWN: "it could not be determined: `report`, `fleet`: whether there is a finding of "
    "`--fail-on`, because a recording is incomplete; `log`: something looks like split-lock detection and "
    "is not understood, or no line is of a kernel; `check`: whether the `--fail-on` condition holds; "
    "`probe`: the verdict is `unclear`; `compare`: the recordings are not comparable, or "
    "the change may be chance",
    EXIT_INTERRUPTED: "ended by Ctrl-C (SIGINT) before it was done, other than `record`",
}
"""The meaning of each exit status; in --help and, by a test, in docs/conventions.md."""


class SldtraceError(Exception):
    """A failure that the user can understand and act on.

    The message is one line that says what is wrong; `hint` says what to do about it.
    """

    exit_status = EXIT_ERROR

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(SldtraceError):
    """The command line is not valid."""

    exit_status = EXIT_USAGE
