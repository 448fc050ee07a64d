"""Who are the people of the quickstart? Nobody: names from syllables, e-mails and phones that cannot exist.

Every person has a role, which says what is wrong with their records; most have none. The roles are drawn as shares
of all customers, so that a larger set has the same faults in the same proportion.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from consentry.testing.phones import capacity, reserved_phone
from consentry.testing.purchases import Shopper

DOMAINS = ("example.com", "example.org", "example.net")
# The names that the shop's data uses, and their ISO 3166 codes; what is missing here stays empty.
COUNTRY_CODES = {
    "Australia": "AU", "Austria": "AT", "Bahrain": "BH", "Belgium": "BE", "Brazil": "BR", "Canada": "CA",
    "Channel Islands": "JE", "Cyprus": "CY", "Czech Republic": "CZ", "Denmark": "DK", "EIRE": "IE", "Finland": "FI",
    "France": "FR", "Germany": "DE", "Greece": "GR", "Iceland": "IS", "Israel": "IL", "Italy": "IT", "Japan": "JP",
    "Lebanon": "LB", "Lithuania": "LT", "Malta": "MT", "Netherlands": "NL", "Norway": "NO", "Poland": "PL",
    "Portugal": "PT", "RSA": "ZA", "Saudi Arabia": "SA", "Singapore": "SG", "Spain": "ES", "Sweden": "SE",
    "Switzerland": "CH", "USA": "US", "United Arab Emirates": "AE", "United Kingdom": "GB",
}  # fmt: skip
# Share of the customers per role. Roles exclude each other, so that every fault can be told from the others.
ROLES = {
    # one person, two records in the CRM
    "crm_twice_same_email": 0.03,
    "crm_twice_same_phone": 0.02,
    "crm_twice_same_number": 0.02,
    "crm_twice_name_only": 0.01,
    # two persons, one identifier
    "family_email": 0.03,
    "family_phone": 0.03,
    "switchboard": 0.0075,
    "role_mailbox": 0.0075,
    "shared_device": 0.01,
    # faults of the shop's export
    "shop_junk_email": 0.01,
    "shop_junk_phone": 0.01,
    "shop_invalid_email": 0.01,
    "shop_no_email": 0.03,
    "shop_duplicate_key": 0.0075,
    "shop_future_date": 0.004,
    "shop_invalid_date": 0.004,
    "shop_malformed_line": 0.005,
    # faults of the CRM
    "crm_junk_email": 0.01,
    "crm_junk_phone": 0.01,
    "crm_invalid_birthdate": 0.005,
    "crm_future_birthdate": 0.004,
    "crm_unknown_stage": 0.004,
}
PROSPECTS = 0.10  # people only the CRM knows, as a share of the customers
_WITH_PHONE = 0.62
_ALWAYS_PHONE = ("crm_twice_same_phone", "family_phone", "switchboard")

# Words in one text read better than a hundred quotes and commas.
_GIVEN_HEADS = "Al Be Bri Ca Cor Da El Fa Fi Ga Ha Il Jo Ka Li Ma Ne O Pa Qui Ra Sa Te U Va Wi Xa Yo Ze Zo".split()  # noqa: SIM905
_GIVEN_TAILS = "bra dan dor eth fin gan iro lan lis mar nel nia phe ra ric sa ten thea via wen".split()  # noqa: SIM905
_FAMILY_HEADS = """
    Alder Ambler Bram Brix Cald Corn Dun Elder Fen Garth Had Hol Ink Jas Kel Lang Mar Nor Oak Pen Quil Rad
    Sel Tam Ul Ver Wex Yar Zell O'Vel Tør Zim-Bel Ève
    """.split()  # noqa: SIM905
_FAMILY_TAILS = """
    bank beck brook by combe cott dale den feld ford gate ham hurst keld lake ley low mere mond more nold pool
    rick sted stone stow strand thorp ton vale vik wald wick win wold worth yard
    """.split()  # noqa: SIM905
_STROKES = str.maketrans({"ø": "o", "Ø": "O"})


@dataclass(frozen=True, slots=True)
class Person:
    """One invented person, as they truly are.

    key: name of the person in truth.jsonl. customer_number: CustomerID in the shop, empty for a prospect.
    phone: E.164 or empty. country: ISO 3166 alpha-2 or empty. role: a key of ROLES, or empty.
    """

    key: str
    customer_number: str
    given: str
    family: str
    email: str
    phone: str
    country: str
    born: date
    tier: str
    registered: date
    role: str = ""


def make_people(customers: list[Shopper], rng: np.random.Generator) -> list[Person]:
    """Invent one person for every customer number, in that order, and then the prospects."""
    prospects = [Shopper("", "United Kingdom", 0.0, "2011-10-01", None)] * round(len(customers) * PROSPECTS)
    roles = deal_roles(len(customers), rng)
    names = _Names(rng)
    taken: Counter[str] = Counter()
    people = []
    for n, shopper in enumerate([*customers, *prospects]):
        role = roles.get(n, "")
        country = COUNTRY_CODES.get(shopper.country, "")
        given, family = names.draw()
        phone = ""
        if rng.random() < _WITH_PHONE or role in _ALWAYS_PHONE:
            dialled = country if capacity(country) or role not in _ALWAYS_PHONE else "GB"
            phone = reserved_phone(dialled, taken[dialled])
            taken[dialled] += 1
        people.append(
            Person(
                key=f"p{n + 1:06d}",
                customer_number=shopper.customer_number,
                given=given,
                family=family,
                email=names.email(given, family),
                phone=phone,
                country=country,
                born=date(1936, 1, 1) + timedelta(days=int(rng.beta(2.2, 1.9) * 20_500)),
                tier=_tier(shopper.spent, rng),
                registered=date.fromisoformat(shopper.first_line[:10]) - timedelta(days=int(rng.integers(1, 300))),
                role=role,
            )
        )
    return _share_identifiers(people)


def deal_roles(customers: int, rng: np.random.Generator) -> dict[int, str]:
    """Deal every role to its share of the customers, nobody twice; pairs get an even number."""
    order = rng.permutation(customers).tolist()
    roles: dict[int, str] = {}
    for role, share in ROLES.items():
        count = round(customers * share)
        if role in ("family_email", "family_phone", "shared_device"):
            count -= count % 2
        for _ in range(count):
            roles[order.pop()] = role
    return roles


def _share_identifiers(people: list[Person]) -> list[Person]:
    """Let families share a mailbox or a phone, one office a switchboard, and one shop floor a mailbox."""
    partner: dict[str, Person] = {}
    first: dict[str, Person] = {}
    shared = []
    for person in people:
        if person.role in ("family_email", "family_phone"):
            other = partner.pop(person.role, None)
            if other is None:
                partner[person.role] = person
            elif person.role == "family_email":
                person = replace(person, family=other.family, email=other.email)
            else:
                person = replace(person, family=other.family, phone=other.phone)
        elif person.role == "switchboard":
            person = replace(person, phone=first.setdefault(person.role, person).phone)
        elif person.role == "role_mailbox":
            person = replace(person, email="info@example.org")
        shared.append(person)
    return shared


def _tier(spent: float, rng: np.random.Generator) -> str:
    """Give the loyalty tier that the money spent suggests, with one in eight out of line."""
    if rng.random() < 0.125:
        return str(rng.choice(["bronze", "silver", "gold"]))
    return "gold" if spent >= 2_500 else "silver" if spent >= 700 else "bronze"


class _Names:
    """Draw names, and an e-mail address for each that nobody else has."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def draw(self) -> tuple[str, str]:
        given = self._pick(_GIVEN_HEADS) + self._pick(_GIVEN_TAILS)
        return given, self._pick(_FAMILY_HEADS) + self._pick(_FAMILY_TAILS)

    def email(self, given: str, family: str) -> str:
        one, two = ascii_word(given), ascii_word(family)
        shape = self._rng.integers(0, 4)
        local = (f"{one}.{two}", f"{one[0]}.{two}", f"{one}{two[0]}{self._rng.integers(10, 99)}", f"{one}_{two}")[shape]
        domain = self._pick(DOMAINS)
        candidate, n = local, 1
        while f"{candidate}@{domain}" in self._used:
            n += 1
            candidate = f"{local}{n}"
        self._used.add(f"{candidate}@{domain}")
        return f"{candidate}@{domain}"

    def _pick(self, words: Sequence[str]) -> str:
        return words[int(self._rng.integers(0, len(words)))]


def ascii_word(text: str) -> str:
    """Write a name with the letters a-z only, as mail systems like it."""
    plain = unicodedata.normalize("NFKD", text.translate(_STROKES)).encode("ascii", "ignore").decode()
    return "".join(letter for letter in plain.lower() if letter.isalpha())
