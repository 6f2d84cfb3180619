"""Stores records column by column, without the bytes that are the same in all of them.

docs/recording-format.md ("Columns") specifies the bytes. All arithmetic is on 64-bit words modulo 2^64.
"""

from typing import Any

import numpy as np

from sldtrace.recording.layout import Record, Records

WORD = 8
"""Bytes of a word; a record is a whole number of words."""

_BEFORE, _TIME = 1, 2  # how a word is predicted; 0: it is not

_U64 = np.dtype("<u8")
_S64 = np.dtype("<i8")
_MASK = (1 << 64) - 1

Words = np.ndarray[Any, np.dtype[np.uint64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def head_size(size: int) -> int:
    """Bytes before the columns, for records of `size` bytes."""
    return size // WORD * (WORD + 2)


def numbers(record: Record) -> list[int]:
    """Indices of the words of a record that are one number; the others hold several fields, or text."""
    return [field.offset // WORD for field in record.fields if field.type in ("u64", "s64")]


class Workspace:
    """Memory that is used again for each chunk: new memory costs more time than the arithmetic in it."""

    def __init__(self) -> None:
        self._words: Words = np.empty(0, _U64)

    def tables(self, count: int, width: int, rows: int) -> tuple[Words, Words]:
        """Two tables of any content, `width` and `rows` rows of `count` words; valid until the next call."""
        need = count * (width + rows)
        if len(self._words) < need:
            self._words = np.empty(need, _U64)
        whole = self._words[:need].reshape(width + rows, count)
        return whole[:width], whole[width:]


def split(records: Records, number: list[int], start_ns: int, workspace: Workspace) -> bytes:
    """The records, at least one, as columns.

    `number`: see `numbers`; start_ns: as in the chunk header. `join` gives the same records whatever both
    are; they decide how much is left to compress.
    """
    count, width = len(records), records.dtype.itemsize // WORD
    table, spare = workspace.tables(count, width, 2 * len(number))
    table[:] = records.view(_U64).reshape(count, width).T
    # The bits that are set in every record. Subtracting them from a word borrows nothing from its neighbours.
    bases = np.bitwise_and.reduce(table, axis=1)
    varying = (bases != np.bitwise_or.reduce(table, axis=1)).tolist()
    predictors = np.zeros(width, np.uint8)
    _predict(table, [word for word in number if varying[word]], start_ns, bases, predictors, spare)
    table -= bases[:, np.newaxis]
    stored = np.bitwise_or.reduce(table, axis=1).view(np.uint8) != 0
    found = _octets(table)[np.nonzero(stored.reshape(width, WORD))]
    parts = (
        bases.tobytes(),
        predictors.tobytes(),
        np.packbits(stored, bitorder="little").tobytes(),
        found.data,
    )
    return b"".join(parts)


def _octets(table: Words) -> Bytes:
    # The bytes of the words: shape (words of a record, byte of the word, records).
    width, count = table.shape
    return table.view(np.uint8).reshape(width, count, WORD).transpose(0, 2, 1)


def _predict(
    table: Words, words: list[int], start_ns: int, bases: Words, predictors: Bytes, spare: Words
) -> None:
    # Replaces these rows by their differences to what is predicted, and their bases by the smallest of those.
    # Word 0, the time, is predicted from the record before; another word from the time, if that leaves less.
    others = [word for word in words if word]
    if others:
        count = len(others)
        found = spare[: 2 * count].view(_S64)
        np.take(table.view(_S64), others, axis=0, out=found[:count], mode="clip")
        np.subtract(found[:count], table[0].view(_S64), out=found[count:])
        least, most = np.minimum.reduce(found, axis=1).tolist(), np.maximum.reduce(found, axis=1).tolist()
        for at, word in enumerate(others):
            to_time = count + at
            if most[to_time] - least[to_time] < most[at] - least[at]:
                table[word] = spare[to_time]
                predictors[word] = _TIME
                at = to_time
            bases[word] = least[at] & _MASK
    if len(others) < len(words):
        time = table[0]
        first = int(time[0]) - start_ns
        time[1:] -= time[:-1]
        base = int(np.minimum.reduce(time[1:].view(_S64)))
        time[0] = (first + base) & _MASK  # the first record is start_ns and the residual
        predictors[0] = _BEFORE
        bases[0] = base & _MASK


def join(data: bytes, start_ns: int, target: Records, workspace: Workspace) -> bool:
    """Fills `target` with the records that `split` made these bytes of.

    False when the data are not those of that number of records of that size; `target` then holds anything.
    """
    count, size = len(target), target.dtype.itemsize
    width, head = size // WORD, head_size(size)
    if not count or not width or size % WORD or len(data) < head:
        return False
    predictors = data[width * WORD : width * (WORD + 1)]
    if max(predictors) > _TIME or predictors[0] == _TIME:
        return False
    octets = np.frombuffer(data, np.uint8)
    stored = np.unpackbits(octets[width * (WORD + 1) : head], bitorder="little").reshape(width, WORD)
    places = np.nonzero(stored)
    if len(data) != head + len(places[0]) * count:
        return False
    table, _ = workspace.tables(count, width, 0)
    table[:] = 0
    _octets(table)[places] = octets[head:].reshape(len(places[0]), count)
    bases = octets[: width * WORD].view(_U64)
    table += bases[:, np.newaxis]
    for word, predictor in enumerate(predictors):
        row = table[word]
        if predictor == _BEFORE:
            row[:1] += _U64.type((start_ns - int(bases[word])) & _MASK)
            np.add.accumulate(row, out=row)
        elif predictor == _TIME:
            row += table[0]
    target.view(_U64).reshape(count, width)[:] = table.T
    return True
