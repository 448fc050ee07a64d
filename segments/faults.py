"""A mistake in a rule: a sentence, and the place with a caret under it."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 100


@dataclass(frozen=True, slots=True)
class RuleFault:
    """One mistake; `at` counts the characters before it."""

    at: int
    sentence: str

    def shown(self, text: str) -> str:
        """Return the sentence, with the line of the rule and a caret under the column."""
        line, column = place(text, self.at)
        where = f"column {column}" if "\n" not in text.strip() else f"line {line}, column {column}"
        return f"The rule, {where}: {self.sentence}\n{pointer(text, self.at)}"


def place(text: str, at: int) -> tuple[int, int]:
    """Return line and column, both from 1."""
    before = text[:at]
    return before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1


def pointer(text: str, at: int) -> str:
    """Return the line of the text at `at`, cut to what fits, and a caret under the place."""
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[begin : len(text) if end < 0 else end]
    column = at - begin
    cut = max(0, column - _SHOWN // 2)
    piece = line[cut : cut + _SHOWN].replace("\t", " ")
    return f"    {piece}\n    {' ' * (column - cut)}^"
