"""Make the quickstart's data: `python -m consentry.testing.quickstart_data OUT`.

Without options the result is, byte for byte, what is committed in configs/quickstart/data. `--customers` makes a larger
set with the same faults in the same proportion, for benchmarks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np

from consentry.testing.choices import Choices
from consentry.testing.people import Person, make_people
from consentry.testing.purchases import Shopper, count_faults, shoppers, write_purchases
from consentry.testing.records import Notes, crm_lines, shop_lines
from consentry.testing.web import web_lines

SEED = 20111210
# The lists that the newsletter tool has; the job names them by these ids.
LISTS = {"CHAMPS": "Champions", "WINBAK": "Winback"}
# The members of the two synced lifecycle segments, as segments/*.yaml define them; day 2's withdrawals are among them.
CHAMPION_SPENT, CHAMPION_SINCE = 1_500.0, datetime(2011, 11, 10, tzinfo=UTC)
AT_RISK_SPENT, AT_RISK_FROM, AT_RISK_UNTIL = (
    400.0,
    datetime(2011, 6, 13, tzinfo=UTC),
    datetime(2011, 9, 11, tzinfo=UTC),
)
BROWSER_PAGES = 5
# Which faults the quickstart's contracts refuse, by stream; no record has two of them.
_REFUSED = {
    "shop_customers": (
        "shop_duplicate_key",
        "shop_malformed_line",
        "shop_invalid_email",
        "shop_invalid_date",
        "shop_future_date",
    ),
    "crm_contacts": ("crm_invalid_birthdate", "crm_future_birthdate", "crm_unknown_stage"),
    "purchases": ("purchases_without_customer", "purchases_without_price"),
    "web_events": ("web_delivered_twice", "web_malformed_line", "web_future_timestamp", "web_no_identity"),
    "consents_day1": (),
}
_STREAMS = ("purchases", "people", "shop", "crm", "web", "consents")


def generate(out: Path, *, customers: int | None = None, events_each: int = 20, seed: int = SEED) -> Notes:
    """Write all files of the quickstart's data below `out` and return what was made.

    customers: None for the committed set; else so many customers with `events_each` events each, half of them
    purchase lines and half web calls. Each stream has its own generator, so that a change of one leaves the others.
    """
    if customers is not None and (customers < 1 or events_each < 2):
        raise ValueError("A scaled set needs at least 1 customer and 2 events each.")
    rng = {name: np.random.default_rng([seed, n]) for n, name in enumerate(_STREAMS)}
    notes = Notes()
    (out / "day1").mkdir(parents=True, exist_ok=True)
    (out / "day2").mkdir(parents=True, exist_ok=True)
    purchases = out / "purchases.parquet"
    lines_each = events_each // 2
    rows = write_purchases(purchases, customers=customers, lines_each=lines_each, rng=rng["purchases"])
    notes.rows["purchases"] = rows
    notes.defects.update(count_faults(purchases))
    buyers = shoppers(purchases)
    people = make_people(buyers, rng["people"])
    _write(out / "shop_customers.csv", shop_lines(people, rng["shop"], notes))
    _write(out / "crm_contacts.jsonl", crm_lines(people, rng["crm"], notes))
    web = web_lines(
        people, events_each=None if customers is None else events_each - lines_each, rng=rng["web"], notes=notes
    )
    _write(out / "web_events.jsonl", web)
    choices = Choices(rng["consents"], notes)
    _write(out / "day1" / "consents.jsonl", choices.day1(people))
    _write(out / "day2" / "consents.jsonl", choices.day2(people, _members(people, buyers, notes)))
    _write(out / "newsletter_lists.jsonl", _lists())
    _write(out / "truth.jsonl", _truth(notes))
    _count_shared(people, notes)
    _write(out / "expected.yaml", _expected(notes, people))
    return notes


def _members(people: list[Person], buyers: list[Shopper], notes: Notes) -> dict[str, set[str]]:
    """Find who is in a segment that is synced, by purpose and by the rules that the segment files state."""
    owner = {person.customer_number: person.key for person in people}
    mailed = {owner[buyer.customer_number] for buyer in buyers if is_champion(buyer) or is_at_risk(buyer)}
    # A call or two may lie before the login's device was known, so these stand well above the rule's five.
    browsing = {person for person, pages in notes.pages.items() if pages >= 2 * BROWSER_PAGES - 2}
    return {"email_marketing": mailed, "ads_targeting": browsing}


def is_champion(buyer: Shopper) -> bool:
    """Tell whether the rule of segments/champions.yaml takes this customer."""
    last = _last(buyer)
    return last is not None and last >= CHAMPION_SINCE and buyer.spent >= CHAMPION_SPENT


def is_at_risk(buyer: Shopper) -> bool:
    """Tell whether the rule of segments/at_risk.yaml takes this customer."""
    last = _last(buyer)
    return last is not None and AT_RISK_FROM <= last < AT_RISK_UNTIL and buyer.spent >= AT_RISK_SPENT


def _last(buyer: Shopper) -> datetime | None:
    # London's hour of summer time moves no purchase over a boundary here: nobody buys at midnight.
    return datetime.fromisoformat(buyer.last_order).replace(tzinfo=UTC) if buyer.last_order else None


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        lines = iter(lines)
        while block := list(islice(lines, 10_000)):
            file.writelines(block)


def _lists() -> Iterator[str]:
    for list_id, name in LISTS.items():
        yield json.dumps({"id": list_id, "name": name}) + "\n"


def _truth(notes: Notes) -> Iterator[str]:
    for record, person in sorted(notes.truth.items()):
        yield json.dumps({"record_id": record, "person": person}, separators=(",", ":")) + "\n"


def _count_shared(people: list[Person], notes: Notes) -> None:
    for person in people:
        shares_phone = person.role in ("family_phone", "switchboard") and person.phone
        if shares_phone or person.role in ("family_email", "role_mailbox"):
            notes.defects[person.role] += 1


def _expected(notes: Notes, people: list[Person]) -> Iterator[str]:
    """State rows by stream and faults by kind, for the tests to hold a run against."""
    yield "# Written by consentry.testing.quickstart_data: what is in these files. Faults are counted in records;\n"
    yield "# quarantined is what the contracts of configs/quickstart refuse.\n"
    yield f"people: {len(people)}\n"
    yield f"customers: {sum(1 for person in people if person.customer_number)}\n"
    yield f"truth_records: {len(notes.truth)}\n"
    refused = {stream: sum(notes.defects[fault] for fault in faults) for stream, faults in _REFUSED.items()}
    for title, counts in (("rows", notes.rows), ("defects", notes.defects), ("quarantined", refused)):
        yield f"{title}:\n"
        for name, count in sorted(counts.items()):
            yield f"  {name}: {count}\n"


def main() -> None:
    """Read the command line and make the data."""
    parser = argparse.ArgumentParser(prog="python -m consentry.testing.quickstart_data", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the files; made when missing")
    parser.add_argument("--customers", type=int, help="make a scaled set with so many customers")
    parser.add_argument("--events-per-customer", type=int, default=20, help="of a scaled set (default 20)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default {SEED}")
    given = parser.parse_args()
    notes = generate(given.out, customers=given.customers, events_each=given.events_per_customer, seed=given.seed)
    for stream, count in sorted(notes.rows.items()):
        print(f"{stream:16} {count:>10,}")


if __name__ == "__main__":
    main()
