"""Which host, boot and recording a file is of: what decides which files are read as one timeline."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from sldtrace.recording.encoding import decode_text
from sldtrace.recording.format import (
    CHUNK_HEADER_SIZE,
    FILE_HEADER_SIZE,
    ChunkType,
    PayloadError,
    unpack_chunk_header,
    unpack_json,
)

_CLOCK_END = 1 << 62


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file says about its origin. Texts are not escaped, and empty where the file does not tell.

    recording: the number in its chunks; host: uname -n; boot: boot_id of the kernel; kernel: its release;
    run: the same in all files of a recording (record --rotate); number: of the file in it, None for a
    recording in one file; start_ns, wall_ns: one moment as CLOCK_MONOTONIC and as wall time, None: not known;
    simulated: the options of `sldtrace simulate` as JSON, empty for a recorded one. Files with the same
    identity are copies of one, which may be cut.
    """

    recording: int
    host: str
    boot: str
    kernel: str
    run: str
    number: int | None
    start_ns: int | None
    wall_ns: int | None
    simulated: str

    @property
    def boot_key(self) -> tuple[str, str]:
        """The same for files that were recorded between one boot of a host and its end: one CLOCK_MONOTONIC.

        The boot_id decides. Without it only files of one recording are known to be of one boot. Simulated
        recordings begin at the same time and may have the same number: those of other options are others.
        """
        return self.host, self.boot or self.run + self.simulated


def identify(recording: int, facts: Mapping[str, Any]) -> Identity:
    """The identity from the number in the chunks and the opening facts, which may hold anything."""
    run, number = _text(facts, "segment", "recording"), _number(facts, "segment", "number")
    simulated = facts.get("simulated")
    return Identity(
        recording=recording,
        host=_text(facts, "host", "name"),
        boot=_text(facts, "host", "boot_id"),
        kernel=_text(facts, "kernel", "release"),
        run=run if run and number is not None else f"{recording:016x}-{monotonic_ns(facts)}",
        number=number if run else None,
        start_ns=monotonic_ns(facts),
        wall_ns=_number(facts, "clock", "realtime_ns"),
        simulated=json.dumps(simulated, sort_keys=True, default=str) if simulated else "",
    )


def monotonic_ns(facts: Mapping[str, Any]) -> int | None:
    """The CLOCK_MONOTONIC of opening or closing facts; None where they do not tell."""
    return _number(facts, "clock", "monotonic_ns")


def peek(file: BinaryIO) -> Identity | None:
    """The identity from the beginning of a file, some kilobytes of it; None if that is not enough.

    Then the file is no recording, or its beginning is damaged or was discarded: only the whole file tells.
    """
    data = file.read(FILE_HEADER_SIZE + CHUNK_HEADER_SIZE)[FILE_HEADER_SIZE:]
    header = unpack_chunk_header(data)
    if header is None or header.type != ChunkType.OPENING:
        return None
    stored = file.read(header.stored)
    if zlib.crc32(stored) != header.crc:
        return None
    try:
        content = unpack_json(decode_text(header, stored))
    except PayloadError:
        return None
    facts = content.get("facts")
    return identify(header.recording, facts) if isinstance(facts, dict) else None


def _look_up(tree: Any, *path: str) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _text(facts: Mapping[str, Any], *path: str) -> str:
    found = _look_up(facts, *path)
    return found if isinstance(found, str) else ""


def _number(facts: Mapping[str, Any], *path: str) -> int | None:
    found = _look_up(facts, *path)
    sound = isinstance(found, int) and not isinstance(found, bool) and 0 <= found < _CLOCK_END
    return found if sound else None
