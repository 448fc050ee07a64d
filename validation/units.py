"""What a number is measured in, and how numbers of one unit become those of another, exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import lcm
from typing import TYPE_CHECKING, Final

from consentry.model.names import nearest
from consentry.validation.addresses import CURRENCIES

if TYPE_CHECKING:
    import pint

# One unit or several, such as `kg`, `km/h`, `kg*m**2` and `EUR/kg`.
_NAME: Final = r"(?:%|°?[^\W\d_]\w*)(?:(?:\*\*|\^)-?[1-9])?"
_UNIT: Final = re.compile(rf"{_NAME}(?:[*/]{_NAME})*")
# Units with a prefix have no name of their own among pint's, and would not be found when they are misspelt.
_USUAL: Final = ("kg", "mg", "km", "cm", "mm", "ml", "cl", "ms", "kWh", "kB", "MB", "GB", "celsius", "fahrenheit")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A number of one unit times `factor` plus `offset` is the same in another unit; both are exact."""

    factor: Fraction
    offset: Fraction

    @property
    def is_needed(self) -> bool:
        """Tell whether it changes anything: the two units may be one in two spellings."""
        return self.factor != 1 or self.offset != 0

    def sql(self, value: str) -> str:
        """Return the SQL of a converted value, a DOUBLE.

        Multiplied and shifted in whole numbers, and divided at last: so 68 °F are 20 °C and not 20.000000000000004.
        """
        below = lcm(self.factor.denominator, self.offset.denominator)
        times, plus = (_constant(part * below) for part in (self.factor, self.offset))
        return f"((CAST({value} AS DOUBLE) * {times} + {plus}) / {_constant(Fraction(below))})"


def _constant(number: Fraction) -> str:
    return f"CAST('{float(number)!r}' AS DOUBLE)"


def unit_fault(text: str) -> str | None:
    """Return a sentence about a text that is no unit: pint's are known, and the currencies of ISO 4217.

    A unit by which nothing can be converted with a factor and an offset, such as the decibel, is none here.
    """
    if _UNIT.fullmatch(text) and _is_known(text):
        return None
    known = {name.lower(): name for name in (*sorted(_registry(), key=len), *CURRENCIES, *_USUAL)}
    near = nearest(text.lower(), map(str.lower, _USUAL)) or nearest(text.lower(), known)
    if near and known[near] == text:
        return f"Numbers of the unit {text!r} cannot be converted by a factor; leave it out."
    hint = f"; did you mean {known[near]!r}?" if near else ". Write it as in kg, km/h, percent or EUR."
    return f"The unit {text!r} is not known{hint}"


def _is_known(text: str) -> bool:
    try:
        _registry().Quantity(Fraction(1), text).to_base_units()
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        # In so many ways pint says that it does not know a unit, or that no factor converts it.
        return False
    return True


def conversion(there: str, here: str) -> Conversion | None:
    """Return how numbers of one unit become those of another; None when the two measure different things.

    Each currency measures something of its own: there is no rate of exchange that holds always.
    """
    registry = _registry()
    return _convert(there, here) if registry.Unit(there).is_compatible_with(registry.Unit(here)) else None


def is_money(unit: str) -> bool:
    """Tell whether a unit is a currency, or made of one."""
    return any(name.strip("[]") in CURRENCIES for name in _registry().Unit(unit).dimensionality)


def _convert(there: str, here: str) -> Conversion:
    of_none, of_one = (Fraction(_registry().Quantity(Fraction(n), there).to(here).magnitude) for n in (0, 1))
    return Conversion(of_one - of_none, of_none)


@cache
def _registry() -> pint.UnitRegistry[Fraction]:
    # Pint takes half a second to load, which only who names a unit pays.
    import pint

    registry = pint.UnitRegistry[Fraction](non_int_type=Fraction)  # pyright: ignore[reportArgumentType]
    for code in sorted(CURRENCIES):
        registry.define(f"{code} = [{code}]")
    return registry
