"""Erasure, an objection and the law of where someone lives go before a grant; T-numbers as in docs/consent.md."""

from __future__ import annotations

from consent_town import HELP, Town

ANN = "ann@example.com"


def test_t33_an_erased_person_who_comes_back_is_suppressed(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN)
    town.ledger.suppress("email", "ANN@example.com ", reason="erasure")
    assert town.reason("ann") == "suppressed"


def test_t33_suppression_does_not_miss_a_suffix(town: Town) -> None:
    town.person("ann", email="ann+shop@example.com")
    town.tell("ann+shop@example.com")
    town.ledger.suppress("email", ANN, reason="erasure")
    assert town.reason("ann") == "suppressed"


def test_t34_an_import_may_not_grant_for_the_erased_but_may_withdraw(town: Town) -> None:
    town.ledger.suppress("email", ANN, reason="erasure")
    assert town.tell(ANN, method="import").refused == {"suppressed": 1}
    assert town.tell(ANN, "withdrawn", method="import").new == 1


def test_t35_an_objection_ends_a_legitimate_interest(town: Town) -> None:
    town.person("ann", email=ANN)
    assert town.reason("ann", HELP) == "allow"
    town.tell(ANN, "objected", purpose="service")
    assert town.reason("ann", HELP) == "objected"


def test_t35_only_the_person_takes_an_objection_back(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, "objected", effective_at="2026-02-01T00:00:00Z")
    for method in ("import", "implied"):
        town.tell(ANN, method=method, effective_at="2026-03-01T00:00:00Z")
        assert town.reason("ann") == "objected"
    town.tell(ANN, effective_at="2026-03-02T00:00:00Z")
    assert town.reason("ann") == "allow"


def test_t40_a_us_choice_is_no_consent_of_a_european(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, regime="us", notice_version=None, method="implied")
    assert town.reason("ann") == "allow"
    town.tell(ANN, regime="gdpr", purpose="ads")
    assert town.reason("ann") == "regime_mismatch"


def test_t41_where_someone_lives_is_unknown_the_strictest_regime_holds(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, regime=None, method="implied")
    assert town.reason("ann") == "implied"


def test_t44_an_implied_consent_is_none(town: Town) -> None:
    town.person("ann", email=ANN)
    town.tell(ANN, method="implied")
    assert town.reason("ann") == "implied"
