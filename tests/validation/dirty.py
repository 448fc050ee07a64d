"""Tables with errors whose every wrong cell is known: made-up values, the kinds of errors that exports have."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Row = dict[str, str | None]
Cell = tuple[int, str]


@dataclass
class Dirty:
    """Rows as they came, and the cells that are wrong (by the row's place)."""

    rows: list[Row]
    wrong: set[Cell] = field(default_factory=set)

    def spoil(self, chance: random.Random, column: str, share: float, how: Callable[[str], str | None]) -> None:
        """Give a share of a column's sound cells another value."""
        for at in chance.sample(range(len(self.rows)), round(share * len(self.rows))):
            value = self.rows[at][column]
            if value is not None and (at, column) not in self.wrong and (spoilt := how(value)) != value:
                self.rows[at][column] = spoilt
                self.wrong.add((at, column))


def slip(chance: random.Random) -> Callable[[str], str]:
    """Return what replaces one letter of a text by another."""

    def typed(text: str) -> str:
        at = chance.randrange(len(text))
        return text[:at] + ("x" if text[at] != "x" else "q") + text[at + 1 :]

    return typed


def always(value: str | None) -> Callable[[str], str | None]:
    """Return what puts the same value everywhere."""
    return lambda _: value


TOWNS = {
    "10101": ("aldermoor", "na"), "10102": ("aldermoor", "na"), "20201": ("brackenford", "nb"),
    "20202": ("castlewick", "nb"), "30301": ("dunhollow", "nc"), "30302": ("eastmarch", "nc"),
}  # fmt: skip
MEASURES = {
    "hf-1": "heart failure patients given discharge instructions",
    "hf-2": "heart failure patients given an evaluation of the left ventricle",
    "pn-2": "pneumonia patients assessed and given a vaccination",
    "pn-6": "pneumonia patients given the most appropriate antibiotic",
    "scip-1": "surgery patients given an antibiotic at the right time",
}


def clinics(seed: int = 5) -> Dirty:
    """Return measures of clinics: each stands in many rows, which bear each other out.

    Some clinics truly have a second phone, and some scores are wrong in a way that nobody can see.
    """
    chance = random.Random(seed)
    rows: list[Row] = []
    for number in range(40):
        town = chance.choice(list(TOWNS))
        city, state = TOWNS[town]
        for code, name in MEASURES.items():
            rows.append(
                {
                    "provider": f"{10_000 + number}",
                    "name": f"{city} clinic {chr(97 + number % 26)}",
                    "zip": town,
                    "city": city,
                    "state": state,
                    "phone": f"555{number:03}0{101 + number if code == 'hf-2' and number < 3 else 100 + number}",
                    "code": code,
                    "measure": name,
                    "average": f"{state}_{code}",
                    "score": f"{chance.randrange(40, 101)}%",
                }
            )
    made = Dirty(rows)
    for column in ("name", "city", "measure", "average", "phone", "zip"):
        made.spoil(chance, column, 0.03, slip(chance))
    made.spoil(chance, "state", 0.02, always("zz"))
    made.spoil(chance, "score", 0.03, lambda text: text.replace("%", "x%"))
    made.spoil(chance, "phone", 0.02, always("empty"))
    made.spoil(chance, "city", 0.02, lambda text: f"{text} ")
    made.spoil(chance, "score", 0.02, always("77%"))
    return made


def arrivals(seed: int = 6) -> Dirty:
    """Return times of flights as many web pages tell them: they leave out, write differently, and copy each other.

    Of three flights most pages have copied one wrong time, so that the majority errs.
    """
    chance = random.Random(seed)
    rows: list[Row] = []
    for flight in range(60):
        leaves, lands = chance.randrange(300, 700), chance.randrange(701, 1_300)
        for page in range(18):
            rows.append(
                {"page": f"page{page}", "flight": f"qq-{flight}", "leaves": _clock(leaves), "lands": _clock(lands)}
            )
    made = Dirty(rows)
    for column in ("leaves", "lands"):
        made.spoil(chance, column, 0.15, always(None))
        made.spoil(chance, column, 0.08, lambda text: _clock(_minutes(text) + chance.randrange(1, 50)))
        made.spoil(chance, column, 0.05, lambda text: f"2011-12-01 {text}")
    for at, row in enumerate(rows):
        if (
            row["flight"] in ("qq-1", "qq-2", "qq-3")
            and int((row["page"] or "")[4:]) < 11
            and (at, "lands") not in made.wrong
        ):
            row["lands"] = "11:59 p.m."
            made.wrong.add((at, "lands"))
    return made


def _clock(minutes: int) -> str:
    hour, minute = divmod(minutes, 60)
    return f"{(hour - 1) % 12 + 1}:{minute:02} {'a.m.' if hour < 12 else 'p.m.'}"


def _minutes(text: str) -> int:
    hour, rest = text.split(":")
    return int(hour) % 12 * 60 + int(rest[:2]) + (720 if "p.m." in rest else 0)


STYLES = ("american pale ale", "oatmeal stout", "vienna lager", "smoked porter", "belgian dubbel")


def brews(seed: int = 7) -> Dirty:
    """Return a list of beers out of an export: units, marks for what is unknown, two columns run together.

    One rare style is truly named nearly like a frequent one, and some strengths are wrong and look right.
    """
    chance = random.Random(seed)
    rows: list[Row] = []
    for number in range(900):
        brewery = chance.randrange(60)
        rows.append(
            {
                "id": str(number),
                "style": "smoked porter a" if number % 300 == 7 else chance.choice(STYLES),
                "ounces": chance.choice(["12.0", "16.0", "8.4"]),
                "abv": f"0.0{chance.randrange(40, 99)}",
                "ibu": str(chance.randrange(10, 100)),
                "brewery": str(brewery),
                "city": f"aldermoor{brewery % 9}",
                "state": "NA" if brewery % 9 < 5 else "NB",
            }
        )
    made = Dirty(rows)
    made.spoil(chance, "ounces", 0.2, lambda text: f"{text} oz")
    made.spoil(chance, "abv", 0.1, lambda text: f"{text}%")
    made.spoil(chance, "ibu", 0.2, always("N/A"))
    made.spoil(chance, "ibu", 0.02, lambda text: f"{text}0000")
    made.spoil(chance, "style", 0.03, slip(chance))
    made.spoil(chance, "abv", 0.02, always("0.055"))
    for at in chance.sample(range(len(rows)), 40):
        rows[at]["city"], rows[at]["state"] = f"{rows[at]['city']} {rows[at]['state']}", None
        made.wrong |= {(at, "city"), (at, "state")}
    return made


def quality_of(found: set[Cell], wrong: set[Cell]) -> Mapping[str, float]:
    """Return precision and recall of the cells that were found."""
    hits = len(found & wrong)
    return {"precision": hits / max(len(found), 1), "recall": hits / max(len(wrong), 1)}
