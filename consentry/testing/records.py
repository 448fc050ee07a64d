"""What do the CRM and the shop hold of the people: their records, with every fault that the roles ask for."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from consentry.testing.mistakes import (
    INVALID_DATES,
    INVALID_EMAILS,
    JUNK_EMAILS,
    JUNK_PHONES,
    mistype,
    mistyped_email,
    shouted_email,
    undotted_email,
)
from consentry.testing.people import DOMAINS, Person
from consentry.testing.phones import capacity, national

AS_OF = datetime(2011, 12, 10, tzinfo=UTC)
SHOP_COLUMNS = (
    "customer_number",
    "email",
    "phone",
    "first_name",
    "last_name",
    "country",
    "birth_year",
    "loyalty_tier",
    "registered_at",
)
_IN_CRM = 0.68


@dataclass(slots=True)
class Notes:
    """What was made on the way: faults by kind, sound page calls of the last 30 days by person, records, rows."""

    defects: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)
    truth: dict[str, str] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)


def shop_lines(people: list[Person], rng: np.random.Generator, notes: Notes) -> Iterator[str]:
    """Give the lines of the shop's CSV, header first; some customers stand there twice, some lines are broken."""
    yield ",".join(SHOP_COLUMNS) + "\n"
    again: list[list[str]] = []
    for person in people:
        if not person.customer_number:
            continue
        notes.truth[f"shop:{person.customer_number}"] = person.key
        cells = _shop_cells(person, rng, notes)
        if person.role == "shop_duplicate_key":
            notes.defects[person.role] += 1
            again.append([*cells[:7], "gold", cells[8]])
        yield _csv_line(_broken(cells, rng, notes) if person.role == "shop_malformed_line" else cells)
        notes.rows["shop_customers"] += 1
    for cells in again:
        yield _csv_line(cells)
        notes.rows["shop_customers"] += 1


def _shop_cells(person: Person, rng: np.random.Generator, notes: Notes) -> list[str]:
    email, phone, registered = person.email, person.phone, person.registered.isoformat()
    match person.role:
        case "shop_junk_email":
            email = str(rng.choice(JUNK_EMAILS))
        case "shop_junk_phone":
            phone = str(rng.choice(JUNK_PHONES))
        case "shop_invalid_email":
            email = str(rng.choice(INVALID_EMAILS)).format(local=email.split("@")[0])
        case "shop_no_email":
            email = ""
        case "shop_future_date":
            registered = f"20{rng.integers(31, 99)}-01-01"
        case "shop_invalid_date":
            registered = str(rng.choice(INVALID_DATES))
    if person.role.startswith("shop_") and person.role not in ("shop_duplicate_key", "shop_malformed_line"):
        notes.defects[person.role] += 1
    born, tier, country = str(person.born.year), person.tier, person.country
    for name, missing in (("birth_year", 0.18), ("loyalty_tier", 0.22), ("country", 0.05)):
        if rng.random() < missing:
            notes.defects[f"shop_missing_{name}"] += 1
            born = "" if name == "birth_year" else born
            tier = "" if name == "loyalty_tier" else tier
            country = "" if name == "country" else country
    return [person.customer_number, email, phone, person.given, person.family, country, born, tier, registered]


def _broken(cells: list[str], rng: np.random.Generator, notes: Notes) -> list[str]:
    """Break a line as exports do: a comma that nobody quoted, or a line cut short."""
    notes.defects["shop_malformed_line"] += 1
    return cells[:4] if rng.random() < 0.5 else [*cells[:5], "Ltd", *cells[5:]]


def _csv_line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def crm_lines(people: list[Person], rng: np.random.Generator, notes: Notes) -> Iterator[str]:
    """Give the CRM's contacts in HubSpot's shape, one JSON object a line; duplicates stand among the last."""
    number = 1_000
    seconds: list[Person] = []
    for person in people:
        must = person.role.startswith("crm_") or not person.customer_number
        if not must and rng.random() >= _IN_CRM:
            continue
        number += 1
        yield _contact(number, person, _crm_properties(person, rng, notes), rng, notes)
        if person.role.startswith("crm_twice_"):
            seconds.append(person)
    for person in seconds:
        number += 1
        yield _contact(number, person, _second_properties(person, rng, notes), rng, notes)


def _crm_properties(person: Person, rng: np.random.Generator, notes: Notes) -> dict[str, str | None]:
    stage = "customer" if person.customer_number else str(rng.choice(["lead", "subscriber"]))
    known = person.role.startswith("crm_twice_") or rng.random() < 0.85
    properties: dict[str, str | None] = {
        "email": person.email,
        "phone": _as_typed(person, rng),
        "firstname": person.given,
        "lastname": person.family,
        "country": person.country if rng.random() < 0.92 else None,
        "customer_number": person.customer_number if known and person.customer_number else None,
        "lifecyclestage": stage,
        "birthdate": person.born.isoformat() if rng.random() < 0.7 else None,
    }
    match person.role:
        case "crm_junk_email":
            properties["email"] = str(rng.choice(JUNK_EMAILS))
        case "crm_junk_phone":
            properties["phone"] = str(rng.choice(JUNK_PHONES))
        case "crm_invalid_birthdate":
            properties["birthdate"] = str(rng.choice(INVALID_DATES))
        case "crm_future_birthdate":
            properties["birthdate"] = f"20{rng.integers(31, 99)}-06-15"
        case "crm_unknown_stage":
            properties["lifecyclestage"] = "custmer"
    if person.role.startswith("crm_") and not person.role.startswith("crm_twice_"):
        notes.defects[person.role] += 1
    if properties["phone"] and properties["phone"].startswith(("0", "(")) and not properties["country"]:
        notes.defects["crm_phone_without_region"] += 1
    return properties


def _second_properties(person: Person, rng: np.random.Generator, notes: Notes) -> dict[str, str | None]:
    """Write the same person down again, linked to the first record by one thing only."""
    unlinked = person.role == "crm_twice_same_phone" and not person.phone
    notes.defects["crm_twice_name_only" if unlinked else person.role] += 1
    second: dict[str, str | None] = {
        "email": None,
        "phone": None,
        "firstname": person.given,
        "lastname": mistype(person.family, rng),
        "country": person.country or None,
        "customer_number": None,
        "lifecyclestage": "customer",
        "birthdate": person.born.isoformat(),
    }
    match person.role:
        case "crm_twice_same_email":
            second["email"] = shouted_email(person.email, rng)
        case "crm_twice_same_phone":
            other = undotted_email(person.email) if rng.random() < 0.3 else mistyped_email(person.email, rng)
            second |= {"email": other, "phone": person.phone or None}
        case "crm_twice_same_number":
            local = f"{person.email.split('@')[0]}.new"
            second |= {"email": f"{local}@{rng.choice(DOMAINS)}", "customer_number": person.customer_number}
        case _:
            second["email"] = mistyped_email(person.email, rng)
    return second


def _as_typed(person: Person, rng: np.random.Generator) -> str | None:
    """Write the phone as a clerk would: often without the country code, when it is a number of their own country."""
    if person.phone and capacity(person.country) and rng.random() < 0.4:
        return national(person.phone)
    return person.phone or None


def _contact(
    number: int, person: Person, properties: dict[str, str | None], rng: np.random.Generator, notes: Notes
) -> str:
    last_possible = AS_OF - timedelta(days=1)
    created = datetime.combine(person.registered, datetime.min.time(), UTC) + timedelta(days=int(rng.integers(0, 30)))
    created = min(created, last_possible)
    updated = created + (last_possible - created) * float(rng.random())
    updated = updated.replace(microsecond=int(rng.integers(0, 1000)) * 1000)
    notes.truth[f"crm:{number}"] = person.key
    notes.rows["crm_contacts"] += 1
    contact = {
        "id": str(number),
        "createdAt": _instant(created),
        "updatedAt": _instant(updated),
        "archived": False,
        "properties": {
            "hs_object_id": str(number),
            "createdate": _instant(created),
            "lastmodifieddate": _instant(updated),
            **properties,
        },
    }
    return json.dumps(contact, ensure_ascii=False, separators=(",", ":")) + "\n"


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
