"""Units of numbers: what is one, and how numbers of one become those of another."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.config import Faults
from consentry.validation.contract import Contract, read_contract
from consentry.validation.units import Conversion, conversion, is_money, unit_fault
from consentry.warehouse import DuckDBWarehouse

PAIRS = [
    ("g", "kg"), ("min", "s"), ("in", "cm"), ("lb", "kg"), ("celsius", "fahrenheit"), ("degF", "kelvin"),
    ("km/h", "m/s"), ("percent", "count"), ("deg", "rad"), ("EUR/g", "EUR/kg"), ("kg", "kilogram"),
]  # fmt: skip
NUMBERS = st.floats(min_value=-1e12, max_value=1e12).map(lambda number: number if abs(number) > 1e-12 else 0.0)
warehouse = DuckDBWarehouse()


def known(there: str, here: str) -> Conversion:
    found = conversion(there, here)
    assert found is not None
    return found


def converted(numbers: Sequence[float], *steps: Conversion) -> list[float]:
    value = "value"
    for step in steps:
        value = step.sql(value)
    found = warehouse.sql(f"SELECT {value} AS found FROM (SELECT unnest($numbers) AS value)", numbers=list(numbers))
    return [float(number) for number in found["found"].to_pylist()]


def near(wanted: float, step: Conversion) -> object:
    """Return what is equal to fifteen digits; where a zero is shifted, to fifteen digits of the shift."""
    return pytest.approx(wanted, rel=4e-15, abs=4e-15 * float(abs(step.offset)))


@settings(deadline=None)
@given(numbers=st.lists(NUMBERS, min_size=1, max_size=30), pair=st.sampled_from(PAIRS))
def test_what_is_converted_there_and_back_is_what_it_was(numbers: list[float], pair: tuple[str, str]) -> None:
    there, back = known(*pair), known(*reversed(pair))
    assert converted(numbers, there, back) == [near(number, back) for number in numbers]
    assert (there.factor * back.factor, there.factor * back.offset + there.offset) == (1, 0)


@settings(deadline=None)
@given(numbers=st.lists(NUMBERS, min_size=1, max_size=30), pair=st.sampled_from(PAIRS))
def test_a_converted_number_is_the_exact_one_to_fifteen_digits(numbers: list[float], pair: tuple[str, str]) -> None:
    step = known(*pair)
    exact = [float(Fraction(number) * step.factor + step.offset) for number in numbers]
    assert converted(numbers, step) == [near(number, step) for number in exact]


@pytest.mark.parametrize(
    ("number", "there", "here", "wanted"),
    [
        (12_300, "g", "kg", 12.3),
        (1.5, "hour", "min", 90),
        (68, "fahrenheit", "celsius", 20),
        (98.6, "degF", "degC", 37),
        (-40, "celsius", "°F", -40),
        (10, "in", "cm", 25.4),
        (12, "percent", "count", 0.12),
        (0.1, "kg", "kilogram", 0.1),
    ],
)
def test_what_people_write_comes_out_to_the_last_digit(number: float, there: str, here: str, wanted: float) -> None:
    assert converted([number], known(there, here)) == [wanted]


def test_a_missing_number_stays_missing() -> None:
    found = warehouse.sql(f"SELECT {known('g', 'kg').sql('CAST(NULL AS INTEGER)')} AS found")
    assert found["found"].to_pylist() == [None]


@pytest.mark.parametrize(("there", "here"), [("kg", "cm"), ("EUR", "USD"), ("EUR", "kg"), ("EUR/kg", "USD/kg")])
def test_what_measures_something_else_is_not_converted_nor_one_currency_into_another(there: str, here: str) -> None:
    assert conversion(there, here) is None


def test_money_is_told_from_what_is_weighed() -> None:
    assert [is_money(unit) for unit in ("EUR", "USD/h", "kg", "percent")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        ("kgs", "did you mean 'kg'?"),
        ("celcius", "did you mean 'celsius'?"),
        ("usd", "did you mean 'USD'?"),
        ("dB", "cannot be converted by a factor"),
        ("decade", "cannot be converted by a factor"),
        ("xyzzy", "Write it as in kg"),
        ("9**9**9", "is not known"),
        ("2 kg", "is not known"),
        ("", "is not known"),
    ],
)
def test_what_is_no_unit_is_told_with_the_nearest_one(unit: str, told: str) -> None:
    assert told in str(unit_fault(unit))


@pytest.mark.parametrize("unit", ["kg", "µg", "%", "°C", "km/h", "kg*m**2", "m^-1", "hours", "KWD", "EUR/kg", "MB"])
def test_a_unit_is_known_by_its_name_its_sign_and_with_prefixes(unit: str) -> None:
    assert unit_fault(unit) is None


def read(folder: Path, **columns: object) -> tuple[Contract | None, list[str]]:
    path, faults = folder / "c.yaml", Faults()
    path.write_text(yaml.safe_dump({"name": "c", "columns": columns}))
    return read_contract(path, faults), faults.found


def test_a_column_of_numbers_has_the_unit_that_its_contract_states(tmp_path: Path) -> None:
    found, _ = read(tmp_path, weight={"dtype": "Decimal(8, 3)", "unit": "kg", "parse": [{"strip_unit": ["kg"]}]})
    assert found and [column.unit for column in found.columns] == ["kg"]


def test_a_unit_that_is_none_and_one_of_no_number_are_faults_with_their_line(tmp_path: Path) -> None:
    found, faults = read(tmp_path, length={"dtype": "Float64", "unit": "metres"}, name={"dtype": "String", "unit": "m"})
    assert found is None
    assert [fault.rpartition("c.yaml:")[2] for fault in faults] == [
        "7: name has a unit and is no number. Give it a dtype of numbers."
    ]
    _, faults = read(tmp_path, length={"dtype": "Float64", "unit": "meterz"})
    assert [fault.rpartition("c.yaml:")[2] for fault in faults] == [
        "4: The unit 'meterz' is not known; did you mean 'meter'?"
    ]
