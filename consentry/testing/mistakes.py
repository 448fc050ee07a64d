"""How do people and systems get a value wrong?"""

from __future__ import annotations

import numpy as np

JUNK_EMAILS = ("test@test.com", "n/a", "test@example.com", "noemail@example.com", "none")
JUNK_PHONES = ("0000000", "000000000000", "n/a", "+440000000000", "-")
INVALID_EMAILS = (
    "{local}@@example.com",
    "{local} example.com",
    "{local}@example",
    "@example.com",
    "{local}.example.org",
)
INVALID_DATES = ("1979-13-45", "31.02.1980", "1985-02-30", "yesterday", "0000-00-00")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {letter: row[max(0, n - 1) : n] + row[n + 1 : n + 2] for row in _ROWS for n, letter in enumerate(row)}


def mistype(word: str, rng: np.random.Generator) -> str:
    """Make one typing error: a neighbouring key, two letters swapped, one left out or one doubled.

    The word always changes; it needs at least one letter a-z after its first character.
    """
    places = [n for n, letter in enumerate(word) if n and letter in _NEIGHBOURS]
    n = places[int(rng.integers(0, len(places)))]
    before, letter, after = word[:n], word[n], word[n + 1 :]
    match int(rng.integers(0, 4)):
        case 0:
            return before + _NEIGHBOURS[letter][-1] + after
        case 1 if before[-1] != letter:
            return before[:-1] + letter + before[-1] + after
        case 2:
            return before + after
        case _:
            return before + letter + letter + after


def mistyped_email(email: str, rng: np.random.Generator) -> str:
    """Mistype the part before the @; the domain stays, for it must remain a reserved one."""
    local, domain = email.split("@")
    return f"{mistype(local, rng)}@{domain}"


def shouted_email(email: str, rng: np.random.Generator) -> str:
    """Write the same address as another form would keep it: capitals, or spaces around it."""
    local, domain = email.split("@")
    return (f"{local.title()}@{domain}", f" {email} ", email.upper())[int(rng.integers(0, 3))]


def undotted_email(email: str) -> str:
    """Leave out the dots and strokes before the @, as people do from memory; at most providers another mailbox."""
    local, domain = email.split("@")
    return f"{local.replace('.', '').replace('_', '')}@{domain}"
