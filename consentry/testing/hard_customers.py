"""Customers who are hard to tell apart, and hard to recognise: households, twins, moves, typing errors, shared things.

    python -m consentry.testing.hard_customers OUT.parquet [--records 100000] [--seed 1]

Nobody of them exists: names come from syllables, mail goes to example domains, phones are reserved for drama or have
the country code 999, which nobody was given. The same seed gives the same customers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from consentry.testing.misspelling import keyed, mistyped_date, sounded
from consentry.testing.people import ascii_word
from consentry.testing.phones import capacity, reserved_phone
from consentry.testing.syllables import CITIES, FAMILY, GIVEN, STREETS

Texts = npt.NDArray[np.object_]
Ints = npt.NDArray[np.int64]

SOURCES = ("crm", "shop", "loyalty", "support")
_DOMAINS = ("example.com", "example.org", "example.net")
_PHONE_COUNTRIES = ("FR", "AU", "DE", "GB", "US", "CA")
_HOUSEHOLD_SIZES = ((1, 0.40), (2, 0.32), (3, 0.13), (4, 0.15))
_RECORDS_OF_A_PERSON = ((1, 0.42), (2, 0.30), (3, 0.15), (4, 0.07), (6, 0.04), (9, 0.02))
_TWINS = 0.03  # of the households of three and more
_OTHER_SURNAME = 0.12
_OWN_MAIL, _OWN_PHONE = 0.82, 0.6
_RECYCLED_MAIL = 0.004
_MOVED, _MARRIED = 0.10, 0.03
_MISSING = {"given_name": 0.01, "family_name": 0.01, "date_of_birth": 0.3, "email": 0.3, "phone": 0.4, "address": 0.15}


@dataclass(frozen=True, slots=True)
class _People:
    """Invented people, one place each in every array."""

    household: Ints
    given: Texts
    family: Texts
    maiden: Texts
    born: Texts
    gender: Texts
    email: Texts
    phone: Texts
    cookie: Ints


def hard_customers(records: int, *, seed: int = 1) -> pa.Table:
    """Make about this many customer records with their truth.

    Columns: record_id, source, given_name, family_name, date_of_birth (ISO text), gender, email, phone,
    street_address, postcode, city, anonymous_id, consent (granted, denied or unknown), updated_at (days since 2020),
    and the truth: person, household. Two records of one household and two people, under one surname and address, are
    what `household_traps` counts.
    """
    rng = np.random.default_rng(seed)
    people = _people(max(round(records / 2.21), 1), rng)
    person = np.repeat(np.arange(len(people.given)), _draw(_RECORDS_OF_A_PERSON, len(people.given), rng))
    rng.shuffle(person)
    return _records(people, person[:records], rng)


def household_traps(table: pa.Table) -> Ints:
    """Return the pairs of records of two people of one household who share surname and address, one pair a line."""
    rows: dict[tuple[str, ...], list[int]] = {}
    person = table["person"].to_pylist()
    columns = [table[name].to_pylist() for name in ("household", "family_name", "street_address")]
    for n, key in enumerate(zip(*columns, strict=True)):
        if None not in key:
            rows.setdefault(key, []).append(n)
    pairs = [
        (one, other)
        for group in rows.values()
        for place, one in enumerate(group)
        for other in group[place + 1 :]
        if person[one] != person[other]
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _people(count: int, rng: np.random.Generator) -> _People:
    size = _draw(_HOUSEHOLD_SIZES, count, rng)
    household = np.repeat(np.arange(count), size)[:count]
    position = np.arange(count) - np.searchsorted(household, household)
    given = _told_apart(_common(GIVEN, count, rng), household, rng)
    surname = _common(FAMILY, count, rng)
    own = rng.random(count) < _OTHER_SURNAME
    family = np.where(own, _common(FAMILY, count, rng), surname[household])
    born = np.where(position < 2, rng.integers(0, 14_000, count), rng.integers(14_000, 20_000, count))
    born = _with_twins(born, position, rng.random(count)[household] < _TWINS)
    email = _emails(given, family, rng)
    first = np.searchsorted(household, household)
    email = np.where(rng.random(count) < _OWN_MAIL, email, email[first])
    recycled = rng.random(count) < _RECYCLED_MAIL
    email = np.where(recycled, email[rng.integers(0, count, count)], email)
    number = np.where(rng.random(count) < _OWN_PHONE, np.arange(count), first)
    return _People(
        household=household,
        given=given,
        family=family,
        maiden=_common(FAMILY, count, rng),
        born=(np.datetime64("1940-01-01") + born.astype("timedelta64[D]")).astype(str).astype(object),
        gender=np.where(rng.random(count) < 0.5, "f", "m").astype(object),
        email=email,
        phone=rng.permutation(_phones(count))[number],
        cookie=np.where(rng.random(count) < 0.6, np.arange(count), first),
    )


def _records(people: _People, person: Ints, rng: np.random.Generator) -> pa.Table:
    count, household = len(person), people.household[person]
    moved = rng.random(count) < _MOVED
    home = np.where(moved, household + len(people.given), household)
    married = rng.random(count) < _MARRIED
    given = _spoiled(_short(people.given[person], rng), 0.10, keyed, rng)
    family = np.where(married, people.maiden[person], people.family[person])
    street, postcode, city = _homes(home, int(rng.integers(1 << 30)))
    columns: dict[str, Texts] = {
        "given_name": _without(_spoiled(given, 0.04, sounded, rng), _MISSING["given_name"], rng),
        "family_name": _without(
            _spoiled(_spoiled(family, 0.08, keyed, rng), 0.04, sounded, rng), _MISSING["family_name"], rng
        ),
        "date_of_birth": _without(
            _spoiled(people.born[person], 0.06, mistyped_date, rng), _MISSING["date_of_birth"], rng
        ),
        "gender": _without(people.gender[person], 0.2, rng),
        "email": _without(_spoiled(people.email[person], 0.02, keyed, rng), _MISSING["email"], rng),
        "phone": _without(people.phone[person], _MISSING["phone"], rng),
        "street_address": _without(_spoiled(street, 0.08, keyed, rng), _MISSING["address"], rng),
        "postcode": _without(_spoiled(postcode, 0.03, keyed, rng), _MISSING["address"], rng),
        "city": _without(_spoiled(city, 0.05, keyed, rng), _MISSING["address"], rng),
        "anonymous_id": _without(_numbered("cookie", people.cookie[person]), 0.6, rng),
        "consent": rng.choice(np.array(["granted", "denied", "unknown"], dtype=object), count, p=(0.6, 0.1, 0.3)),
    }
    source = np.array(SOURCES, dtype=object)[rng.integers(0, len(SOURCES), count)]
    table = {"record_id": source + ":" + _numbered("", np.arange(count)), "source": source} | columns
    return pa.table(
        {name: pa.array(values, pa.string()) for name, values in table.items()}
        | {
            "updated_at": pa.array(rng.integers(0, 2_000, count)),
            "person": pa.array(_numbered("p", person), pa.string()),
            "household": pa.array(_numbered("h", household), pa.string()),
        }
    )


def _draw(shares: Sequence[tuple[int, float]], count: int, rng: np.random.Generator) -> Ints:
    values, weights = zip(*shares, strict=True)
    return rng.choice(np.array(values, dtype=np.int64), count, p=weights)


def _common(words: Sequence[str], count: int, rng: np.random.Generator) -> Texts:
    """Draw words as names are given: the first are common, the last are rare (Zipf)."""
    weights = 1 / (np.arange(len(words)) + 12)
    return np.array(words, dtype=object)[rng.choice(len(words), count, p=weights / weights.sum())]


def _told_apart(given: Texts, household: Ints, rng: np.random.Generator) -> Texts:
    """Let nobody be called like somebody else at home."""
    for _ in range(5):
        key = np.char.add(np.char.add(household.astype(str), " "), given.astype(str))
        _, first = np.unique(key, return_index=True)
        again = np.setdiff1d(np.arange(len(given)), first)
        given[again] = _common(GIVEN, len(again), rng)
    return given


def _with_twins(born: Ints, position: Ints, twins: npt.NDArray[np.bool_]) -> Ints:
    """Let the third and fourth of some households be born on one day."""
    found = np.flatnonzero(twins & (position == 3))
    born[found] = born[found - 1]
    return born


def _emails(given: Texts, family: Texts, rng: np.random.Generator) -> Texts:
    number = rng.integers(1, 10_000, len(given))
    domain = rng.integers(0, len(_DOMAINS), len(given))
    plain = {word: ascii_word(word) for word in {*given.tolist(), *family.tolist()}}
    return np.array(
        [
            f"{plain[one]}.{plain[other]}{n}@{_DOMAINS[d]}"
            for one, other, n, d in zip(given.tolist(), family.tolist(), number.tolist(), domain.tolist(), strict=True)
        ],
        dtype=object,
    )


def _phones(count: int) -> Texts:
    numbers = [reserved_phone(c, n) for c in _PHONE_COUNTRIES for n in range(min(capacity(c), count))][:count]
    return np.array([*numbers, *(f"+999{n:09d}" for n in range(count - len(numbers)))], dtype=object)


def _homes(home: Ints, seed: int) -> tuple[Texts, Texts, Texts]:
    """Give each home its street, postcode and city: the same for the same number."""
    mixed = (home.astype(np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    street = (mixed >> np.uint64(40)) % np.uint64(len(STREETS))
    area = (mixed >> np.uint64(20)) % np.uint64(9_000)
    house = (mixed >> np.uint64(8)) % np.uint64(180) + np.uint64(1)
    city = area % np.uint64(len(CITIES))
    lines = [f"{n} {STREETS[s]}" for n, s in zip(house.tolist(), street.tolist(), strict=True)]
    codes = [f"{n + 10_000}" for n in area.tolist()]
    return np.array(lines, dtype=object), np.array(codes, dtype=object), np.array(CITIES, dtype=object)[city]


def _numbered(word: str, numbers: Ints) -> Texts:
    return np.array([f"{word}{n}" for n in numbers.tolist()], dtype=object)


def _short(given: Texts, rng: np.random.Generator) -> Texts:
    """Shorten a few names to an initial or a short form."""
    way = rng.random(len(given))
    return np.array(
        [name[:1] + "." if w < 0.02 else name[:3] if w < 0.05 else name for name, w in zip(given, way, strict=True)],
        dtype=object,
    )


def _spoiled(
    values: Texts, share: float, how: Callable[[str, np.random.Generator], str], rng: np.random.Generator
) -> Texts:
    spoiled = values.copy()
    for n in np.flatnonzero(rng.random(len(values)) < share).tolist():
        spoiled[n] = how(values[n], rng)
    return spoiled


def _without(values: Texts, share: float, rng: np.random.Generator) -> Texts:
    kept = values.copy()
    kept[rng.random(len(values)) < share] = None
    return kept


def main() -> None:
    """Write the records to a Parquet file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    pq.write_table(hard_customers(arguments.records, seed=arguments.seed), arguments.out)


if __name__ == "__main__":
    main()
