"""Makes text that a guest or a tenant controls (comm, VM names, log lines) safe to print."""


def escape(text: str | bytes, limit: int = 200) -> str:
    """The text with everything that a terminal or a reader could take for something else spelled out.

    Control characters, bytes that are not UTF-8, bidirectional marks and other unprintable or
    format characters become backslash escapes; more than `limit` characters are cut, visibly.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    out = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
    return out if len(out) <= limit else out[: limit - 3] + "..."


def comm(raw: bytes) -> str:
    """A thread's name as the kernel keeps it (NUL-terminated bytes), safe to print."""
    return escape(raw.split(b"\0", 1)[0])
