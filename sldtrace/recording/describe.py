"""Warnings, one line each, about what is damaged in a recording or missing from it."""

from collections.abc import Iterator, Mapping

from sldtrace.recording.format import FORMAT_VERSION, ChunkHeader, ChunkType
from sldtrace.recording.layout import Record
from sldtrace.recording.scan import Damage, Scan
from sldtrace.text.escape import escape

MOST = 100
"""Places of damage, and chunks, that have a warning each; of one place, chunks that are listed: a tenth."""

_JSON_CHUNKS = {
    ChunkType.OPENING: "the opening facts",
    ChunkType.UPDATE: "an update of the facts",
    ChunkType.END: "the closing facts",
}


def count(number: int, what: str) -> str:
    """`1 chunk`, `2 chunks`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def chunk(header: ChunkHeader, records: Mapping[int, Record]) -> str:
    """What the chunk holds or held."""
    if header.type == ChunkType.RECORDS:
        record = records.get(header.kind)
        name = record.name if record else f"kind-{header.kind}"
        span = f"{header.first_ns} to {header.last_ns} ns"
        return f"{count(header.count, f'{name} record')} of {span}"
    return (
        _JSON_CHUNKS.get(ChunkType(header.type), "") if header.type in _JSON_CHUNKS else "of an unknown type"
    )


def lacking(counts: Mapping[str, int], codec: str, hint: str) -> str:
    """The warning that these records are not read because this host lacks `codec`; hint: what to do."""
    what = ", ".join(count(number, f"{name} record") for name, number in counts.items())
    return f"{what} not read: they are compressed by {codec}, which this host lacks; {hint}"


def _lost(damage: Damage, records: Mapping[int, Record]) -> str:
    known = [chunk(header, records) for header in damage.headers[: MOST // 10]]
    more = len(damage.headers) + damage.more - len(known)
    if more:
        return ", ".join(known) + f", and {count(more, 'more chunk')}"
    if damage.chunks is not None and damage.chunks > len(known) and known:
        known.append(f"{count(damage.chunks - len(known), 'chunk')} with unknown content")
    return ", ".join(known)


def _damage(damage: Damage, size: int, records: Mapping[int, Record]) -> str:
    where = f"bytes {damage.start} to {damage.end - 1}"
    lost = _lost(damage, records)
    if damage.start == damage.end:
        return f"{count(damage.chunks or 0, 'chunk')} missing before byte {damage.start}"
    if damage.chunks is None and damage.end == size and (damage.cut or not lost):
        return f"the file ends inside a chunk ({where}{': ' + lost if lost else ''}), which is lost"
    if damage.chunks == 0 and not lost:
        return f"{where} do not belong to the recording; nothing is missing there"
    if damage.chunks is None:
        return f"{where} are damaged; lost: {lost or 'an unknown amount'}"
    chunks = count(max(damage.chunks, len(damage.headers) + damage.more), "chunk")
    return f"{where} are damaged; {chunks} lost" + (f": {lost}" if lost else "")


def scan_warnings(scan: Scan, records: Mapping[int, Record], running: bool = False) -> Iterator[str]:
    """What the scan found; `records` gives the kinds their names; running: its recorder had not ended."""
    if scan.version is None:
        yield "the file header (bytes 0 to 15) is damaged or missing; it is not needed to read the recording"
    elif scan.version < FORMAT_VERSION:
        yield f"the file header names format {scan.version}, the chunks are of format {FORMAT_VERSION}"
    for damage in scan.damages[:MOST]:
        yield _damage(damage, scan.size, records)
    more = len(scan.damages[MOST:]) + scan.more_damages
    if more:
        yield f"{more} more places are damaged"
    if scan.repeated_start is not None:
        yield f"{count(scan.repeated, 'chunk')} repeated from byte {scan.repeated_start} on; read once"
    if scan.foreign_start is not None:
        what = f"{count(scan.foreign, 'chunk')} of another recording"
        yield f"{what} from byte {scan.foreign_start} on, not read; tail -c +{scan.foreign_start + 1} gets it"
    if not scan.closed and running:
        yield "the recorder still runs: this is what it has recorded so far"
    elif not scan.closed:
        yield (
            "the recording has no end: the recorder was killed or could not write any more,"
            " or the end of the file is missing"
        )


def record_warnings(read: Mapping[str, int], closing: Mapping[str, object] | None) -> Iterator[str]:
    """Warnings where fewer records can be read than the end chunk counts."""
    end = closing or {}
    written, unwritten = end.get("written"), end.get("unwritten")
    for name, number in written.items() if isinstance(written, dict) else ():
        if isinstance(number, int) and number > read.get(name, 0):
            yield f"{number - read.get(name, 0)} of {count(number, f'{escape(name)} record')} missing"
    for name, number in unwritten.items() if isinstance(unwritten, dict) else ():
        if isinstance(number, int) and number > 0:
            why = escape(str(end.get("failure", "no reason given")))
            yield f"{count(number, f'{escape(name)} record')} not written by the recorder: {why}"
