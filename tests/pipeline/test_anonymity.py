"""k and l of an export are those of pyCANON, the reference package, on the same rows."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from consentry.errors import ConfigError
from consentry.pipeline.anonymity import anonymity_of_file

COLUMNS = ("country", "age", "gender", "plan")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A hundred and twenty rows, the same in every run."""
    chance = random.Random(7)
    choices = (("DE", "FR", "NL"), ("20-29", "30-39"), ("f", "m"), ("basic", "gold", "none"))
    path = tmp_path / "people.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([chance.choice(some) for some in choices] for _ in range(120))
    return path


# Worked out with pycanon 1.3.6 (k_anonymity, l_diversity) on these rows in an environment of its own: it asks for
# numpy below 2.1 and pandas below 3, so that it cannot be installed beside consentry.
@pytest.mark.parametrize(
    ("columns", "k", "l"),
    [(["country"], 37, 3), (["country", "age"], 17, 3), (["country", "age", "gender"], 7, 2)],
)
def test_k_and_l_are_those_of_pycanon(people: Path, columns: list[str], k: int, l: int) -> None:  # noqa: E741
    found = anonymity_of_file(people, columns, sensitive="plan")
    assert (found["k"], found["l"], found["people"]) == (k, l, 120)


def test_who_stands_alone_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text('{"country": "DE", "age": 3}\n{"country": "DE", "age": 3}\n{"country": null, "age": 3}\n')
    found = anonymity_of_file(path, ["country", "age"])
    assert (found["k"], found["classes"], found["unique_people"]) == (1, 2, 1)
    assert "l" not in found


@pytest.mark.parametrize(("name", "said"), [("x.txt", "no export"), ("x.csv", "cannot be read")])
def test_what_cannot_be_measured_is_said(tmp_path: Path, name: str, said: str) -> None:
    if name == "x.txt":
        (tmp_path / name).write_text("a")
    with pytest.raises(ConfigError, match=said):
        anonymity_of_file(tmp_path / name, ["a"])


def test_a_column_that_is_not_there_is_said_with_the_nearest(people: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'country'"):
        anonymity_of_file(people, ["contry"])
