"""Logs in tests: bytes in, survey and entries out."""

import io

from sldtrace.kernlog import unpack
from sldtrace.kernlog.entry import Entry, Parser
from sldtrace.kernlog.stream import Tally, candidates
from sldtrace.kernlog.survey import Survey


def survey(data: bytes) -> Survey:
    """What a file with this content has."""
    found = Survey()
    for stream in unpack.streams(io.BytesIO(data)):
        found.read(stream)
    return found


def entries(data: bytes) -> list[Entry]:
    """The entries of a text, in order."""
    parser = Parser()
    return [each for line in candidates(io.BytesIO(data), Tally()) for each in parser.entries(line)[0]]


def facts(found: Survey) -> dict[str, object]:
    """What people ask for: threads with names, TIDs, addresses, lines and times; modes, counts, hosts."""
    return {
        "threads": [
            (each.kind, each.name, each.tid, each.origin, dict(each.addresses), each.lines)
            for each in found.traps()
        ],
        "suppressed": dict(found.suppressed),
        "modes": [[mode.name for mode in boot.modes] for boot in found.boots if boot.modes],
    }
