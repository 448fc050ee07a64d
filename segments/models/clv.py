"""What a customer will still buy and be worth: BG/NBD for how often, gamma-gamma for how much.

Fader, Hardie and Lee (2005), "Counting your customers" the easy way, Marketing Science 24(2): a customer buys at a rate
that varies over people as a gamma distribution (r, alpha), and after each purchase stops for good with a chance that
varies as a beta distribution (a, b). Fader and Hardie (2013), The gamma-gamma model of monetary value: what an order is
worth varies around a customer's own mean, which varies over people (p, q, v).

Customers are summed up as in these papers: x repeat days with an order, the time of the last of them (t_x) and the time
since the first order (T), in days; m is the mean worth of the repeat days.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are first used, which most commands never do

from consentry.errors import StopRun
from consentry.segments.bits import Column

FEWEST = 20
_STEP_DAYS = 30.0
# Of the search for parameters, which goes by their logarithms: a pull that decides nothing where the data does, and
# how far is too far.
_PULL, _FAR = 1e-3, 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Customers:
    """One customer a row: repeat days x, the day of the last one t_x, days since the first T, mean worth m."""

    x: Column
    t_x: Column
    age: Column
    m: Column

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class BgNbd:
    """A fitted BG/NBD model; time in days."""

    r: float
    alpha: float
    a: float
    b: float

    def alive(self, customers: Customers) -> Column:
        """Return the probability that a customer still buys (Fader, Hardie and Lee 2008, note on P(alive)).

        Somebody without a repeat purchase has had no chance to stop.
        """
        return np.asarray(1 / (1 + self._stopped(customers)))

    def _stopped(self, customers: Customers) -> Column:
        """Return the odds that a customer has stopped."""
        x, again = customers.x, np.maximum(customers.x, 1) - 1
        quiet = (self.alpha + customers.age) / (self.alpha + customers.t_x)
        logged = (self.r + x) * np.log(quiet) + np.log(self.a / (self.b + again))
        return np.where(x == 0, 0.0, np.exp(np.minimum(logged, 700)))  # e to the 709 is the last that is finite

    def purchases(self, customers: Customers, days: float) -> Column:
        """Return how many purchases are expected in the next days: equation 10 of the paper of 2005.

        The hypergeometric function is written by Euler's transformation, which does not overflow for who buys often.
        """
        x, a, b, top = customers.x, self.a, self.b, self.alpha + customers.age
        curve = 1 - (top / (top + days)) ** (a - 1) * scipy.special.hyp2f1(
            a + b - 1 - self.r, a - 1, a + b + x - 1, days / (top + days)
        )
        return np.asarray((a + b + x - 1) / (a - 1) * curve / (1 + self._stopped(customers)))


@dataclass(frozen=True, slots=True)
class GammaGamma:
    """A fitted gamma-gamma model; worth in the units of the orders."""

    p: float
    q: float
    v: float

    def worth(self, customers: Customers) -> Column:
        """Return what an order of each customer is expected to be worth: between their own mean and everybody's."""
        x = customers.x
        everybody = self.p * self.v / (self.q - 1)
        own = self.p * x / (self.p * x + self.q - 1)
        return np.asarray((1 - own) * everybody + own * np.where(x > 0, customers.m, 0.0))


def fit_bg_nbd(customers: Customers) -> BgNbd:
    """Fit BG/NBD by maximum likelihood (equation 6 of the paper of 2005). Raises StopRun when it cannot be fitted."""
    x, t_x, age = customers.x, customers.t_x, customers.age
    if len(x) < FEWEST or not (x > 0).any():
        message = f"{len(x)} customers, or none who came back, are too few to say what they will buy."
        raise StopRun(message, code="too_few_people")
    # In units in which the longest time is 1, so that the search begins near its end whatever the shop.
    unit = float(age.max()) or 1.0
    last, old = t_x / unit, age / unit
    again = np.maximum(x, 1) - 1

    betaln, gammaln = scipy.special.betaln, scipy.special.gammaln

    def loss(logged: Column) -> float:
        r, alpha, a, b = np.exp(logged)
        shared = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        living = betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + old)
        gone = betaln(a + 1, b + again) - betaln(a, b) - (r + x) * np.log(alpha + last)
        both = np.where(x > 0, np.logaddexp(living, gone), living)
        return -float((shared + both).mean())

    r, alpha, a, b = np.exp(_least(loss, np.array([0.0, -1.0, 0.0, 1.0])))
    return BgNbd(float(r), float(alpha * unit), float(a), float(b))


def fit_gamma_gamma(customers: Customers) -> GammaGamma:
    """Fit gamma-gamma by maximum likelihood over those who came back and paid. Raises StopRun for too few of them."""
    some = (customers.x > 0) & (customers.m > 0)
    x, m = customers.x[some], customers.m[some]
    if len(x) < FEWEST:
        message = f"{len(x)} customers who came back and paid are too few to say what an order is worth."
        raise StopRun(message, code="too_few_people")
    unit = float(m.mean())
    own = m / unit

    gammaln = scipy.special.gammaln

    def loss(logged: Column) -> float:
        p, q, v = np.exp(logged)
        total = gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(v)
        total += (p * x - 1) * np.log(own) + p * x * np.log(x) - (p * x + q) * np.log(x * own + v)
        return -float(total.mean())

    p, q, v = np.exp(_least(loss, np.array([1.0, 1.0, 0.5])))
    # Below 1 the mean over people does not exist; then a fit says nothing of a newcomer.
    if q <= 1:
        raise StopRun("The worth of orders varies so much that no mean can be fitted.", code="not_fitted")
    return GammaGamma(float(p), float(q), float(v * unit))


def value(counting: BgNbd, paying: GammaGamma, customers: Customers, *, days: float, discount: float = 0.0) -> Column:
    """Return what customers will be worth over the next days; discount: a year, on what comes month by month."""
    worth = paying.worth(customers)
    ends = np.append(np.arange(_STEP_DAYS, days, _STEP_DAYS), days)
    before, total = np.zeros(len(customers)), np.zeros(len(customers))
    for end in ends:
        until = counting.purchases(customers, float(end))
        total += (until - before) / (1 + discount) ** (end / 365)
        before = until
    return np.asarray(total * worth)


def _least(loss: Callable[[Column], float], start: Column) -> Column:
    """Search where a loss is least. Where customers hardly differ it falls for ever: then a slight pull towards the
    start ends the search."""
    found = _searched(loss, start)
    if found is None:
        found = _searched(lambda logged: loss(logged) + _PULL * float(((logged - start) ** 2).sum()), start)
    if found is None:
        raise StopRun("The model of repeat purchases could not be fitted to these orders.", code="not_fitted")
    return found


def _searched(loss: Callable[[Column], float], start: Column) -> Column | None:
    from scipy.optimize import minimize

    with np.errstate(all="ignore"):
        found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4_000, "xatol": 1e-9, "fatol": 1e-12})
    settled = found.success and np.isfinite(found.x).all() and np.abs(found.x).max() < _FAR
    return np.asarray(found.x) if settled else None
