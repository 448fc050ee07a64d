"""Read the bit strings of the IAB: six bits a letter, bounded, and never past the end."""

from __future__ import annotations

_LETTERS = {
    letter: value for value, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
}
MAX_LETTERS = 20_000


class Malformed(ValueError):
    """A string that is not what it says it is; the text shows nothing of it."""


class Bits:
    """A string of bits, read from its beginning."""

    def __init__(self, text: str) -> None:
        if not 0 < len(text) <= MAX_LETTERS:
            raise Malformed("The string has a length that is not allowed.")
        parts: list[str] = []
        for letter in text:
            if letter not in _LETTERS:
                raise Malformed("The string holds a letter that is not of the alphabet.")
            parts.append(f"{_LETTERS[letter]:06b}")
        self._bits = "".join(parts)
        self._at = 0

    def number(self, bits: int) -> int:
        """Read a number of so many bits; raises Malformed past the end."""
        end = self._at + bits
        if end > len(self._bits):
            raise Malformed("The string ends too early.")
        found = int(self._bits[self._at : end], 2)
        self._at = end
        return found

    def flag(self) -> bool:
        """Read one bit."""
        return self.number(1) == 1

    def skip(self, bits: int) -> None:
        """Go past so many bits."""
        self.number(bits)

    def fibonacci(self) -> int:
        """Read a number in Fibonacci code: two ones in a row end it."""
        total, low, high, previous = 0, 1, 2, False
        for _ in range(40):
            bit = self.flag()
            if bit and previous:
                return total
            total += low if bit else 0
            low, high, previous = high, low + high, bit
        raise Malformed("A number has no end.")

    def holds(self, wanted: int) -> bool:
        """Read a list of vendors (a bit each, or ranges), and tell whether one of them stands in it."""
        highest = self.number(16)
        if not self.flag():
            if highest == 0:
                return False
            field = self.number(highest)
            return 0 < wanted <= highest and bool(field >> (highest - wanted) & 1)
        found = False
        for _ in range(self.number(12)):
            is_range, start = self.flag(), self.number(16)
            end = self.number(16) if is_range else start
            if not 0 < start <= end <= highest:
                raise Malformed("A range is upside down or too high.")
            found = found or start <= wanted <= end
        return found
