"""The expected failures: one line for the user and a documented exit status, never a traceback."""

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_FINDING = 3


class SldtraceError(Exception):
    """Something that the user can understand and act on.

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
    """The command line asks for something that cannot be meant."""

    exit_status = EXIT_USAGE
