"""What a column of people means, how it is cleaned, how two values of it are compared, and what agreement is worth.

A comparison has levels from equal to different; a pair of values stands at the first level that holds. `m` is how
often two records of one person stand at each level. These figures are ours, rounded to what data entry is like: two
of three names are spelled alike, one in six differs by a key or two, one in nine is another name. They were not
fitted to a data set. The rest of the model (how often strangers agree, how rare a value is, how many duplicates
there are) is read off the data at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

RoleName = Literal[
    "given_name",
    "family_name",
    "full_name",
    "date_of_birth",
    "gender",
    "email",
    "phone",
    "national_id",
    "street_address",
    "postcode",
    "city",
    "birth_place",
    "occupation",
]

# Longer values are cut: by then it is told what a person is called, or where they live.
MAX_LENGTH = 100
_JUNK = (
    "'', 'n a', 'na', 'nan', 'nil', 'none', 'null', 'unknown', 'test', 'customer', 'guest', 'xxx', 'mr', 'mrs', 'ms'"
)
# Dates come as a DATE, as ISO text, or as people of many countries write them; what is none keeps its digits.
_DATE_FORMS = "['%Y-%m-%d', '%Y%m%d', '%Y/%m/%d', '%d.%m.%Y', '%d/%m/%Y', '%Y-%m-%d %H:%M:%S']"


def _cut(column: str) -> str:
    return f"left({column}::VARCHAR, {MAX_LENGTH})"


def _plain(column: str) -> str:
    """Write the SQL of lower case without accents, nor the characters that show nothing."""
    return f"regexp_replace(lower(strip_accents({_cut(column)})), '[\\p{{Cf}}\\p{{M}}]+', '', 'g')"


def words(column: str) -> str:
    """Write the SQL of a text as words: letters and digits with single blanks, null for a placeholder."""
    text = f"trim(regexp_replace({_plain(column)}, '[^\\p{{L}}\\p{{N}}]+', ' ', 'g'))"
    return f"list_filter([{text}], lambda word: word NOT IN ({_JUNK}))[1]"


def compact(column: str) -> str:
    """Write the SQL of a code: letters and digits only."""
    return f"nullif(regexp_replace({_plain(column)}, '[^\\p{{L}}\\p{{N}}]+', '', 'g'), '')"


def digits(column: str) -> str:
    """Write the SQL of a number's digits."""
    return f"nullif(regexp_replace({_cut(column)}, '[^0-9]+', '', 'g'), '')"


def date(column: str) -> str:
    """Write the SQL of a date as eight digits, the year first."""
    return f"coalesce(strftime(try_strptime(trim({_cut(column)}), {_DATE_FORMS}), '%Y%m%d'), {digits(column)})"


def phone(column: str) -> str:
    """Write the SQL of a phone's last nine digits: what is before them is how it was dialled."""
    return f"right({digits(column)}, 9)"


def email(column: str) -> str:
    """Write the SQL of an e-mail address in lower case, without what shows nothing; without an @ it is none."""
    shown = f"regexp_replace(lower({_cut(column)}), '[\\p{{Cf}}\\s]+', '', 'g')"
    return f"CASE WHEN contains({column}::VARCHAR, '@') THEN {shown} END"


@dataclass(frozen=True, slots=True)
class Role:
    """One meaning of a column.

    between: the levels between equal and different, as a label and SQL over COLUMN_l and COLUMN_r.
    m: the shares of one person's record pairs, from equal to different. rare: whether a rare value weighs more.
    """

    name: RoleName
    clean: Callable[[str], str]
    between: tuple[tuple[str, str], ...]
    m: tuple[float, ...]
    rare: bool = True


def _alike(column: str, least: float) -> str:
    return f'jaro_winkler_similarity("{column}_l", "{column}_r") >= {least}'


def _strokes(column: str, most: int) -> str:
    # Plain Levenshtein: DuckDB's Damerau takes nine times as long, and sees a swap of neighbours as one stroke less.
    return f'levenshtein("{column}_l", "{column}_r") <= {most}'


def _same(column: str, letters: int) -> str:
    return f'left("{column}_l", {letters}) = left("{column}_r", {letters})'


def _begins(column: str) -> str:
    one, other = f'"{column}_l"', f'"{column}_r"'
    return f"starts_with({one}, {other}) OR starts_with({other}, {one})"


SWAPPED = '"given_name_l" = "family_name_r" AND "given_name_r" = "family_name_l"'

# Of eight digits, year first: the same year, and day and month changed places.
DAY_MONTH = (
    'left("date_of_birth_l", 4) || right("date_of_birth_l", 2) || substr("date_of_birth_l", 5, 2) = "date_of_birth_r"'
)


def _name(name: RoleName, m: tuple[float, ...]) -> Role:
    between = (
        ("given and family name swapped", SWAPPED),
        ("spelled almost alike", _alike(name, 0.92)),
        ("alike, or one begins the other", f"{_alike(name, 0.8)} OR {_begins(name)}"),
    )
    return Role(name, words, between, m)


def _place(name: RoleName, m: tuple[float, ...]) -> Role:
    return Role(name, words, (("spelled almost alike", _alike(name, 0.9)),), m)


def _number(name: RoleName, clean: Callable[[str], str], m: tuple[float, ...]) -> Role:
    return Role(name, clean, (("one stroke apart", _strokes(name, 1)), ("two strokes apart", _strokes(name, 2))), m)


_EMAIL_BOX = "split_part(\"email_l\", '@', 1) = split_part(\"email_r\", '@', 1)"
ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        _name("given_name", (0.68, 0.003, 0.12, 0.08, 0.117)),
        _name("family_name", (0.72, 0.003, 0.12, 0.06, 0.097)),
        Role(
            "date_of_birth",
            date,
            (
                ("one stroke apart, or day and month swapped", f"{_strokes('date_of_birth', 1)} OR {DAY_MONTH}"),
                ("two strokes apart", _strokes("date_of_birth", 2)),
                ("the same year", _same("date_of_birth", 4)),
            ),
            (0.78, 0.10, 0.04, 0.03, 0.05),
        ),
        Role("gender", words, (), (0.96, 0.04), rare=False),
        Role(
            "email",
            email,
            (("the same box elsewhere", _EMAIL_BOX), ("two strokes apart", _strokes("email", 2))),
            (0.80, 0.06, 0.07, 0.07),
        ),
        _number("phone", phone, (0.72, 0.12, 0.04, 0.12)),
        _number("national_id", compact, (0.83, 0.10, 0.03, 0.04)),
        Role(
            "street_address",
            words,
            (("spelled almost alike", _alike("street_address", 0.92)), ("alike", _alike("street_address", 0.82))),
            (0.62, 0.20, 0.05, 0.13),
        ),
        Role(
            "postcode",
            compact,
            (("one stroke apart", _strokes("postcode", 1)), ("the same area", _same("postcode", 3))),
            (0.72, 0.08, 0.08, 0.12),
        ),
        _place("city", (0.70, 0.13, 0.17)),
        _place("birth_place", (0.70, 0.12, 0.18)),
        _place("occupation", (0.75, 0.05, 0.20)),
    )
}
# A full name is taken apart, when there is no given and family name beside it.
NAMES = ("given_name", "family_name")
COLUMNS = (*ROLES, "full_name")
