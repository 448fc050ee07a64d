"""Sets of people as packed bits, one bit a person: what rules are combined from.

A person's bit stands at their ordinal, the first of a byte being its lowest. Bits beyond the last person are always 0.
What is kept between runs is a Roaring bitmap of the same ordinals: small, and quick to compare.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

Mask = NDArray[np.bool_]
# Roaring cuts numbers into chunks; up to so many members of one are listed, more are written as bits.
_CHUNK, _SPARSE, _COOKIE = 65_536, 4096, 12_346
# One value a person, NaN where it is missing.
Column = NDArray[np.float64]
Ordinals = NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class Bits:
    """An immutable set of people out of `size`."""

    words: NDArray[np.uint8]
    size: int

    @classmethod
    def of(cls, mask: Mask | NDArray[np.uint8]) -> Bits:
        """Pack a mask of one boolean a person, or of one number that is 0 for whoever is not in it."""
        return cls(np.packbits(mask, bitorder="little"), len(mask))

    @classmethod
    def none(cls, size: int) -> Bits:
        return cls(np.zeros((size + 7) // 8, dtype=np.uint8), size)

    @classmethod
    def all(cls, size: int) -> Bits:
        return cls.of(np.ones(size, dtype=np.bool_))

    def __and__(self, other: Bits) -> Bits:
        return Bits(self.words & other.words, self.size)

    def __or__(self, other: Bits) -> Bits:
        return Bits(self.words | other.words, self.size)

    def __sub__(self, other: Bits) -> Bits:
        return Bits(self.words & ~other.words, self.size)

    def __invert__(self) -> Bits:
        return Bits.all(self.size) - self

    def __len__(self) -> int:
        return int(np.bitwise_count(self.words).sum(dtype=np.int64))

    def mask(self) -> Mask:
        """Unpack to one boolean a person."""
        return np.unpackbits(self.words, count=self.size, bitorder="little").view(np.bool_)

    def ordinals(self) -> Ordinals:
        """Return the ordinals of the people in the set, ascending."""
        # Most sets are small: only bytes with anybody in them are unpacked. Numpy finds what is true several times
        # faster than what is not zero.
        places = np.flatnonzero(self.words != 0)
        near = np.unpackbits(self.words[places], bitorder="little").view(np.bool_)
        inside = np.flatnonzero(near).astype(np.uint32)
        return np.asarray((places.astype(np.uint32) << 3)[inside >> 3] | (inside & 7), dtype=np.uint32)


def roaring(bits: Bits) -> BitMap:
    """Turn bits into a Roaring bitmap."""
    if len(bits) * _CHUNK < bits.size * _SPARSE:
        return bitmap(bits.ordinals())
    padded = np.zeros(-(-bits.size // _CHUNK) * _CHUNK // 8, dtype=np.uint8)
    padded[: len(bits.words)] = bits.words
    chunks = padded.reshape(-1, _CHUNK // 8)
    sizes = np.bitwise_count(chunks).sum(axis=1, dtype=np.int64)
    many = np.flatnonzero(sizes > _SPARSE)
    dense = _deserialized(many, sizes[many], chunks[many])
    chunks[many] = 0
    return dense | bitmap(Bits(padded, bits.size).ordinals())


def _deserialized(keys: NDArray[np.int64], sizes: NDArray[np.int64], chunks: NDArray[np.uint8]) -> BitMap:
    """Return chunks of bits as a Roaring bitmap.

    They are what a Roaring file holds of chunks with many members (github.com/RoaringBitmap/RoaringFormatSpec, read
    2026-11), so that no member has to be put in.
    """
    count = len(keys)
    heads = np.stack([keys, sizes - 1], axis=1).astype("<u2")
    places = 8 + 8 * count + _CHUNK // 8 * np.arange(count)
    start = np.array([_COOKIE, count], dtype="<u4")
    return BitMap.deserialize(
        b"".join((start.tobytes(), heads.tobytes(), places.astype("<u4").tobytes(), chunks.tobytes()))
    )


def bitmap(ordinals: Ordinals) -> BitMap:
    """Build a Roaring bitmap."""
    # From an array of the machine's own kind: eight times quicker than from numpy's (measured, pyroaring 1.2).
    return BitMap(array("I", ordinals.tobytes()))


def ordinals_of(members: BitMap) -> Ordinals:
    """Return the ordinals in a Roaring bitmap, ascending."""
    return np.frombuffer(members.to_array(), dtype=np.uint32)
