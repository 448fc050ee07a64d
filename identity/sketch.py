"""What a few bytes of a text say about how alike two texts can be, at most.

Of each text are kept which letters and digits it has, how often (up to a few), its first four bytes and its length. How
many letters one has that the other lacks bounds the edit distance from below, and the Jaro-Winkler similarity from
above; a few operations on whole columns then rule out most pairs that the real measures would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from consentry.identity.codes import Flags, Ints

Floats = npt.NDArray[np.float32]
_Word = npt.NDArray[np.uint64]
# Each byte counts as a letter, a digit, or one of twelve classes of others; measures in DuckDB see bytes, too.
_LETTERS, _DIGITS, _OTHERS = 26, 10, 12
_CLASSES = _LETTERS + _DIGITS + _OTHERS


def _class_of() -> npt.NDArray[np.int64]:
    found = np.arange(256) % _OTHERS + _LETTERS + _DIGITS
    found[ord("a") : ord("z") + 1] = np.arange(_LETTERS)
    found[ord("0") : ord("9") + 1] = np.arange(_DIGITS) + _LETTERS
    return found


_CLASS = _class_of()


@dataclass(frozen=True, slots=True)
class Sketches:
    """A sketch of one text for each record; that of no text at all is zero.

    letters: bits of the letters that stand there once, twice, and of other bytes. digits: of each digit, up to six
    times. head: the first four bytes as a number. length: in bytes.
    """

    letters: _Word
    digits: _Word
    head: npt.NDArray[np.uint32]
    length: npt.NDArray[np.uint16]

    @classmethod
    def empty(cls, records: int) -> Sketches:
        """Make room for the sketches of so many records."""
        return cls(
            np.zeros(records, dtype=np.uint64),
            np.zeros(records, dtype=np.uint64),
            np.zeros(records, dtype=np.uint32),
            np.zeros(records, dtype=np.uint16),
        )

    def put(self, at: Ints, texts: pa.Array) -> None:
        """Sketch the texts of some records."""
        raw = texts.cast(pa.large_binary()).fill_null(b"")
        _, offsets, data = raw.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64)[raw.offset : raw.offset + len(raw) + 1]
        content = np.frombuffer(data, dtype=np.uint8) if data else np.empty(0, dtype=np.uint8)
        length = np.diff(ends)
        owner = np.repeat(np.arange(len(raw)), length)
        classes = _CLASS[content[ends[0] : ends[-1]]]
        counts = np.bincount(owner * _CLASSES + classes, minlength=len(raw) * _CLASSES).reshape(-1, _CLASSES)
        letters, digits, others = np.split(counts, [_LETTERS, _LETTERS + _DIGITS], axis=1)
        self.letters[at] = _bits(letters > 0, letters > 1, others > 0)
        self.digits[at] = _bits(*(digits > n for n in range(6)))
        self.length[at] = length
        head = np.zeros(len(raw), dtype=np.uint32)
        for place in range(4):
            there = length > place
            head[there] |= content[ends[:-1][there] + place].astype(np.uint32) << np.uint32(24 - 8 * place)
        self.head[at] = head

    def likeness(self, one: Ints, other: Ints) -> Likeness:
        """Say how alike the texts of pairs of records can be."""
        mine, theirs = self.letters[one], self.letters[other]
        lacks, adds = np.bitwise_count(mine & ~theirs), np.bitwise_count(theirs & ~mine)
        mine, theirs = self.digits[one], self.digits[other]
        lacks += np.bitwise_count(mine & ~theirs)
        adds += np.bitwise_count(theirs & ~mine)
        differ = self.head[one] ^ self.head[other]
        prefix = np.zeros(len(one), dtype=np.uint8)
        for place in range(4):
            prefix += differ < 1 << 8 * place
        return Likeness(lacks, adds, prefix, self.length[one], self.length[other])


@dataclass(frozen=True, slots=True)
class Likeness:
    """Bounds on how alike pairs of texts are.

    lacks, adds: letters that the first has and the other lacks, and the other way round, at least. prefix: equal bytes
    at the beginning, at most four. one, other: the lengths.
    """

    lacks: npt.NDArray[np.uint8]
    adds: npt.NDArray[np.uint8]
    prefix: npt.NDArray[np.uint8]
    one: npt.NDArray[np.uint16]
    other: npt.NDArray[np.uint16]

    def within(self, strokes: int) -> Flags:
        """Tell which texts may be so few strokes apart: each stroke mends one letter that is lacking or too many."""
        near: Flags = np.maximum(self.lacks, self.adds) <= strokes
        return near

    def reaches(self, least: float) -> Flags:
        """Tell which texts may have this Jaro-Winkler similarity: letters that are lacking are not common."""
        one, other = self.one.astype(np.float32), self.other.astype(np.float32)
        common = np.minimum(one - self.lacks, other - self.adds)
        jaro = (common / np.maximum(one, 1) + common / np.maximum(other, 1) + 1) / 3
        near: Flags = jaro + np.float32(0.1) * self.prefix * (1 - jaro) >= least - 1e-4
        return near

    def begins(self) -> Flags:
        """Tell which texts may begin with the other."""
        inside = np.minimum(self.lacks, self.adds) == 0
        found: Flags = inside & (self.prefix >= np.minimum(np.minimum(self.one, self.other), 4))
        return found


def _bits(*flags: Flags) -> _Word:
    """Pack up to 64 columns of flags into a word for each row."""
    joined = np.concatenate(flags, axis=1)
    padded = np.zeros((len(joined), 64), dtype=np.bool_)
    padded[:, : joined.shape[1]] = joined
    return np.packbits(padded, axis=1).view(np.uint64)[:, 0]
