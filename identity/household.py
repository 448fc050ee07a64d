"""When two alike records are two people of one household: what they share, everybody at home shares.

Address, phone and surname say where somebody lives, not who it is; that takes a given name, a date
of birth or a personal number. Two people are kept apart for good (a veto) when they clearly differ in one of these and
agree in none; a pair in which nothing personal agrees says nothing.
"""

from __future__ import annotations

from consentry.identity.roles import DAY_MONTH

NOBODY, NOTHING, APART = 0, 1, 2
SHARED = ("street_address", "phone")
NEIGHBOURS = ("family_name", "postcode")
# Jaro-Winkler: spellings of one name lie above the first, two names below the second; between them both are.
_ONE_NAME, _TWO_NAMES = 0.9, 0.85


def household_sql(columns: set[str]) -> str:
    """Write what a household says of a pair: 0 none, 1 the pair says nothing, 2 they are two people.

    columns: those of the features; the SQL is over COLUMN_l and COLUMN_r. Twins are born on one day, but so is one
    person under two names: such a pair says nothing. Swapped names and short forms are no other name.
    """
    shared = [f'coalesce("{name}_l" = "{name}_r", false)' for name in SHARED if name in columns]
    if "given_name" not in columns or not shared:
        return str(NOBODY)
    named, other = _alike(columns), _other(columns)
    born, strictly = _born(columns, 2), _born(columns, 1)
    return (
        f"CASE WHEN {_numbered(columns)} THEN {NOBODY}"
        f" WHEN {_neighbours(columns)} AND coalesce({other} AND NOT {born}, false) THEN {APART}"
        f" WHEN NOT ({' OR '.join(shared)}) THEN CASE WHEN {_neighbours(columns)} AND {named} IS NULL"
        f" AND {born} IS NULL THEN {NOTHING} ELSE {NOBODY} END"
        f" WHEN coalesce(NOT {born}, false) AND NOT coalesce({_similar(0.92)}, false) THEN {APART}"
        f" WHEN coalesce({other}, false) AND ({_mailboxes(columns)} OR {_phones(columns)} OR NOT"
        f" coalesce({strictly}, false)) THEN {APART}"
        f" WHEN NOT coalesce({_similar(1)} OR {_swapped(columns)} OR {born}, false)"
        f" AND {_mailboxes(columns)} THEN {APART}"
        f" WHEN coalesce({other} AND NOT ({_similar(0.7)} AND {strictly}), false) THEN {NOTHING}"
        f" WHEN NOT coalesce({named}, false) AND NOT coalesce({strictly}, false) THEN {NOTHING} ELSE {NOBODY} END"
    )


def _neighbours(columns: set[str]) -> str:
    if not set(NEIGHBOURS) <= columns:
        return "false"
    both = " AND ".join(f'"{name}_l" = "{name}_r"' for name in NEIGHBOURS)
    return f"coalesce({both}, false)"


def _similar(least: float) -> str:
    return f'jaro_winkler_similarity("given_name_l", "given_name_r") >= {least}'


def _swapped(columns: set[str]) -> str:
    if "family_name" not in columns:
        return "false"
    return 'coalesce("given_name_l" = "family_name_r" OR "given_name_r" = "family_name_l", false)'


def _begins(least: int) -> str:
    one, other = '"given_name_l"', '"given_name_r"'
    long = f"least(length({one}), length({other})) >= {least}"
    return f"({long} AND (starts_with({one}, {other}) OR starts_with({other}, {one})))"


def _alike(columns: set[str]) -> str:
    """Write when the names agree: an initial says too little for that."""
    return f"({_similar(_ONE_NAME)} OR {_begins(2)} OR {_swapped(columns)})"


def _other(columns: set[str]) -> str:
    """Write when the names are two names; an initial that fits is not."""
    return f"NOT ({_similar(_TWO_NAMES)} OR {_begins(1)} OR {_swapped(columns)})"


def _born(columns: set[str], strokes: int) -> str:
    """Write when two are born on one day, typing errors aside; the first of January stands for the year alone."""
    if "date_of_birth" not in columns:
        return "NULL::BOOLEAN"
    one, other = '"date_of_birth_l"', '"date_of_birth_r"'
    year = f"left({one}, 4) = left({other}, 4) AND (right({one}, 4) = '0101' OR right({other}, 4) = '0101')"
    return f"(levenshtein({one}, {other}) <= {strokes} OR {DAY_MONTH} OR ({year}))"


def _mailboxes(columns: set[str]) -> str:
    """Write when each has a mailbox of their own."""
    if "email" not in columns:
        return "false"
    return 'coalesce(levenshtein("email_l", "email_r") > 2, false)'


def _phones(columns: set[str]) -> str:
    """Write when each has a phone of their own."""
    if "phone" not in columns:
        return "false"
    return 'coalesce(levenshtein("phone_l", "phone_r") > 2, false)'


def _numbered(columns: set[str]) -> str:
    if "national_id" not in columns:
        return "false"
    return 'coalesce(levenshtein("national_id_l", "national_id_r") <= 2, false)'
