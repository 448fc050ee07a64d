"""Customer lifetime value: the published figures of CDNOW, `lifetimes` as an oracle, and laws."""

from __future__ import annotations

import importlib.util
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.errors import StopRun
from consentry.segments.models.clv import BgNbd, Customers, GammaGamma, fit_bg_nbd, fit_gamma_gamma, value
from consentry.segments.models.orders import summed
from consentry.segments.person import Event, Person
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import fill
from tests.segments.models.conftest import NOW, SHOP, Read

LIFETIMES = importlib.util.find_spec("lifetimes")
needs_lifetimes = pytest.mark.skipif(LIFETIMES is None, reason="lifetimes is not installed (group reference)")
CLV = """\
models:
  - model: worth
    description: What a customer will be worth within a year
    purpose: profiling
    kind: clv
    clv: {event: order, value: amount, horizon: 365 days, discount: 10%}
"""
# Fader, Hardie and Lee (2005), table 2: CDNOW, time in weeks.
PUBLISHED = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)


def cdnow(name: str) -> pl.DataFrame:
    """The 2,357 customers of the papers, as `lifetimes` carries them."""
    assert LIFETIMES is not None and LIFETIMES.origin is not None
    return pl.read_csv(Path(LIFETIMES.origin).parent / "datasets" / name)


def customers(frame: pl.DataFrame) -> Customers:
    columns = [frame.to_series(n).cast(pl.Float64).to_numpy() for n in range(1, frame.width)]
    x, t_x, age, *paid = columns
    return Customers(x, t_x, age, paid[0] if paid else np.zeros(len(frame)))


def oracle(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lifetimes

        return getattr(lifetimes, name)


@needs_lifetimes
def test_bg_nbd_gives_the_published_parameters_of_cdnow() -> None:
    found = fit_bg_nbd(customers(cdnow("cdnow_customers_summary.csv")))
    assert (found.r, found.alpha, found.a, found.b) == pytest.approx((0.243, 4.414, 0.793, 2.426), abs=0.001)


@needs_lifetimes
def test_gamma_gamma_gives_the_published_parameters_of_cdnow() -> None:
    # Fader and Hardie (2013), The gamma-gamma model of monetary value: p 6.25, q 3.74, gamma 15.44.
    found = fit_gamma_gamma(customers(cdnow("cdnow_customers_summary_with_transactions.csv")))
    assert (found.p, found.q, found.v) == pytest.approx((6.25, 3.74, 15.44), abs=0.01)


@needs_lifetimes
@pytest.mark.filterwarnings("ignore")
def test_predictions_agree_with_lifetimes_to_four_digits() -> None:
    frame = cdnow("cdnow_customers_summary_with_transactions.csv")
    known = customers(frame)
    theirs = oracle("BetaGeoFitter")().fit(known.x, known.t_x, known.age)
    ours = fit_bg_nbd(known)
    expected = theirs.conditional_expected_number_of_purchases_up_to_time(39, known.x, known.t_x, known.age)
    assert np.allclose(ours.purchases(known, 39), np.asarray(expected), rtol=1e-4)
    alive = theirs.conditional_probability_alive(known.x, known.t_x, known.age)
    assert np.allclose(ours.alive(known), np.asarray(alive), rtol=1e-4)
    some = known.x > 0
    paying = oracle("GammaGammaFitter")().fit(known.x[some], known.m[some])
    worth = paying.conditional_expected_average_profit(known.x, known.m)
    assert np.allclose(fit_gamma_gamma(known).worth(known), np.asarray(worth), rtol=1e-4)


def test_the_worked_example_of_the_paper() -> None:
    # Fader, Hardie and Lee (2005), the conditional expectation: x = 2, t_x = 30.43, T = 38.86, 39 weeks ahead: 1.226.
    one = Customers(*(np.array([number]) for number in (2.0, 30.43, 38.86, 0.0)))
    assert PUBLISHED.purchases(one, 39)[0] == pytest.approx(1.226, abs=0.001)


def test_somebody_who_is_long_gone_is_less_alive_than_somebody_who_was_just_here() -> None:
    made = Customers(np.array([5.0, 5.0, 0.0]), np.array([38.0, 10.0, 0.0]), np.full(3, 39.0), np.full(3, 20.0))
    alive = PUBLISHED.alive(made)
    assert alive[0] > 0.8 > 0.2 > alive[1]
    assert alive[2] == 1.0


@given(
    x=st.integers(0, 200),
    last=st.floats(0, 1),
    age=st.floats(0.1, 3000),
    days=st.floats(0.1, 2000),
    m=st.floats(0.01, 1e6),
)
def test_expectations_are_finite_and_grow_with_time(x: int, last: float, age: float, days: float, m: float) -> None:
    t_x = age * last if x else 0.0
    one = Customers(np.array([float(x)]), np.array([t_x]), np.array([age]), np.array([m]))
    sooner, later = PUBLISHED.purchases(one, days)[0], PUBLISHED.purchases(one, 2 * days)[0]
    assert np.isfinite(later) and -1e-9 <= sooner <= later + 1e-9
    assert 0 <= PUBLISHED.alive(one)[0] <= 1
    paying = GammaGamma(6.25, 3.74, 15.44)
    everybody = 6.25 * 15.44 / 2.74
    low, high = sorted((everybody, m if x else everybody))
    assert low - 1e-6 <= paying.worth(one)[0] <= high + 1e-6


def test_value_later_is_worth_less_when_it_is_discounted() -> None:
    made = Customers(np.array([5.0]), np.array([38.0]), np.array([39.0]), np.array([20.0]))
    paying = GammaGamma(6.25, 3.74, 15.44)
    plain, discounted = (value(PUBLISHED, paying, made, days=365, discount=rate)[0] for rate in (0.0, 0.1))
    assert 0 < discounted < plain
    assert plain == pytest.approx(PUBLISHED.purchases(made, 365)[0] * paying.worth(made)[0])


def test_orders_of_one_day_are_one_and_the_first_day_is_not_a_repeat(read: Read) -> None:
    (worth,) = read(CLV)
    midnight = NOW.replace(hour=0)
    from_day = [(0, 9.0), (0, 1.0), (10, 30.0), (20, 50.0), (25, -50.0), (99, 7.0)]
    orders = [
        Event("order", midnight + timedelta(days=day - 90, hours=5), {"amount": amount}) for day, amount in from_day
    ]
    warehouse = DuckDBWarehouse(threads=1)
    fill(warehouse, SHOP, {"p": Person(events=orders), "none": Person()})
    warehouse.sql("CREATE SCHEMA IF NOT EXISTS segment")
    warehouse.sql("CREATE TABLE segment.person_ordinal AS SELECT person_id, 0::UINTEGER AS ordinal FROM profile.person")
    warehouse.sql("DELETE FROM segment.person_ordinal WHERE person_id = 'none'")
    found = summed(warehouse, SHOP, worth, at=NOW).customers
    # An order after the instant does not exist yet, and what was given back is no order.
    assert (found.x[0], found.t_x[0], found.age[0], found.m[0]) == (2.0, 20.0, 90.0, 40.0)


def test_too_few_customers_are_refused_with_a_sentence() -> None:
    few = Customers(*(np.ones(3) for _ in range(4)))
    with pytest.raises(StopRun, match="3 customers"):
        fit_bg_nbd(few)
    with pytest.raises(StopRun, match="3 customers who came back"):
        fit_gamma_gamma(few)


def test_customers_who_never_stop_are_expected_to_go_on() -> None:
    # Then the data says nothing of how people stop, and the likelihood has no best a and b.
    rng = np.random.default_rng(0)
    rates, age = rng.gamma(2, 0.01, size=600), rng.uniform(100, 400, size=600)
    x = rng.poisson(rates * age).astype(float)
    t_x = np.where(x > 0, age * rng.random(600) ** (1 / np.maximum(x, 1)), 0.0)
    known = Customers(x, t_x, age, np.ones(600))
    expected = fit_bg_nbd(known).purchases(known, 90)
    assert (expected >= 0).all()
    assert expected.sum() == pytest.approx(90 * rates.sum(), rel=0.15)
