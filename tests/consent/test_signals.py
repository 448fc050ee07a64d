"""What platforms send becomes a grant only when it says so, in words that are listed, and can be proven."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from consent_signals import BOUNDARY, OLD, ROW, SIGNALS, Writer, block, said, tcf_string
from consent_town import EMAIL, Town

from consentry.consent.policy import Policy
from consentry.consent.rules import CHILD
from consentry.consent.signals.iab import read_gpp_header
from consentry.consent.signals.read import read_signal
from consentry.consent.signals.rows import UNREADABLE


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("CONFIRMED", "granted"), ("ACTIVE", "granted"), ("EXTEND", "granted"), ("WITHDRAWN", "withdrawn"),
        ("EXPIRED", "expired"), ("HARD_OPT_OUT", "denied"), ("PENDING", "denied"), ("NO_CONSENT", "denied"),
        ("ALWAYS_ACTIVE", "denied"), ("CONFIRMD", "denied"), ("confirmed", "denied"), (True, "denied"),
        (None, "denied"),
    ],
)  # fmt: skip
def test_t5_a_onetrust_word_that_is_not_listed_is_a_denial(ours: Policy, word: object, state: str) -> None:
    assert said(ours, "onetrust", {"purposes": [{"Id": "p-1", "TransactionType": word}]}) == {"onetrust:p-1": state}


@pytest.mark.parametrize("test", [True, "true", "false", 1])
def test_a_test_receipt_is_dropped(ours: Policy, test: object) -> None:
    receipt = {"test": test, "purposes": [{"Id": "p-1", "TransactionType": "CONFIRMED"}]}
    assert said(ours, "onetrust", receipt) == {}


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        ("marketing:true,method:'explicit'", ("granted", "explicit")),
        ("marketing:true,method:'implied'", ("granted", "implied")),
        ("marketing:true", ("granted", "implied")),
        ("marketing:false,method:'explicit'", ("denied", "explicit")),
    ],
)
def test_t44_a_cookiebot_choice_that_is_implied_is_marked_so(
    ours: Policy, cookie: str, expected: tuple[str, str]
) -> None:
    payload = "{stamp:%27abcd%27%2Cnecessary:true%2C" + cookie + "%2Cutc:1740000000000%2Cregion:%27fr%27}"
    (row,) = read_signal({**ROW, "payload": payload}, block("cookiebot"), ours)
    assert (row["purpose"], row["state"], row["method"]) == ("cookiebot:marketing", *expected)
    assert row["effective_at"] == "2025-02-19T21:20:00+00:00"


def test_t44_an_implied_cookiebot_choice_is_refused_by_the_gate(tmp_path: Path) -> None:
    town = Town(
        tmp_path, text=SIGNALS.replace("cookiebot:marketing", "x").replace("klaviyo:email", "cookiebot:marketing")
    )
    town.person("ann", email="ann@example.com")
    for n, (method, reason) in enumerate([("implied", "implied"), ("explicit", "allow")]):
        payload = f"{{stamp:'a',marketing:true,method:'{method}',utc:17700000{n}0000}}"
        row = {**ROW, "source_event_id": f"e{n}", "payload": payload}
        signal = block("cookiebot", regime="gdpr", notice_version=2)
        town.ledger.record(read_signal(row, signal, town.policy), policy=town.policy)
        assert town.reason("ann") == reason
    town.close()


def test_a_cookiebot_minus_one_is_no_word(ours: Policy) -> None:
    assert said(ours, "cookiebot", "{stamp:'-1',necessary:true,marketing:-1,method:'explicit'}") == {}


@pytest.mark.parametrize(
    ("preferences", "expected"),
    [
        ({"Newsletter": True, "Ads": False}, {"segment:Newsletter": "granted", "segment:Ads": "denied"}),
        ({"Newsletter": "true"}, {"segment:Newsletter": "denied"}),
        ({"Newsletter": 1}, {"segment:Newsletter": "denied"}),
        ({}, {UNREADABLE: "denied"}),
        (None, {UNREADABLE: "denied"}),
        ([True], {UNREADABLE: "denied"}),
    ],
)
def test_t7_segment_grants_for_true_and_nothing_else(
    ours: Policy, preferences: object, expected: dict[str, str]
) -> None:
    assert said(ours, "segment", {"context": {"consent": {"categoryPreferences": preferences}}}) == expected


def test_rudderstack_denied_goes_before_allowed_and_or_is_not_followed(ours: Policy) -> None:
    consent = {"allowedConsentIds": ["a", "b "], "deniedConsentIds": ["a"], "resolutionStrategy": "or"}
    assert said(ours, "rudderstack", {"context": {"consentManagement": consent}}) == {
        "rudderstack:a": "denied",
        "rudderstack:b": "granted",
    }


@pytest.mark.parametrize(
    "consent", [{}, {"allowedConsentIds": "a"}, {"allowedConsentIds": [1], "deniedConsentIds": []}]
)
def test_t8_a_rudderstack_object_that_cannot_be_read_grants_nothing(ours: Policy, consent: object) -> None:
    assert said(ours, "rudderstack", {"context": {"consentManagement": consent}}) == {UNREADABLE: "denied"}


def test_mparticle_sale_opt_out_is_an_objection(ours: Policy) -> None:
    state = {
        "gdpr": {"p": {"consented": True, "timestamp_unixtime_ms": 1740000000000}, "q": {"consented": "yes"}},
        "ccpa": {"data_sale_opt_out": {"consented": True}},
    }
    assert said(ours, "mparticle", {"consent_state": state}) == {
        "mparticle:p": "granted",
        "mparticle:q": "denied",
        "ads": "objected",
    }


def test_a_hubspot_subscription_is_explicit_only_with_consent_with_notice(ours: Policy) -> None:
    states = [
        {"id": "7", "status": "SUBSCRIBED", "legalBasis": "CONSENT_WITH_NOTICE"},
        {"id": "8", "status": "SUBSCRIBED", "legalBasis": "LEGITIMATE_INTEREST_CLIENT"},
        {"id": "9", "status": "NOT_SUBSCRIBED"},
        {"id": "10", "status": "MAYBE"},
    ]
    rows = list(read_signal({**ROW, "payload": json.dumps({"subscriptionStatuses": states})}, block("hubspot"), ours))
    assert [(row["state"], row["method"]) for row in rows] == [
        ("granted", "explicit"), ("granted", "implied"), ("withdrawn", "explicit"), ("denied", "explicit"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("marketing", "expected"),
    [
        ({"consent": "SUBSCRIBED"}, {"klaviyo:email": "granted"}),
        ({"consent": "SUBSCRIBED", "suppression": [{"reason": "HARD_BOUNCE"}]}, {"klaviyo:email": "withdrawn"}),
        ({"consent": "UNSUBSCRIBED"}, {"klaviyo:email": "withdrawn"}),
        ({"consent": "NEVER_SUBSCRIBED"}, {}),
        ({"consent": True}, {"klaviyo:email": "denied"}),
    ],
)
def test_klaviyo_states(ours: Policy, marketing: object, expected: dict[str, str]) -> None:
    profile = {"data": {"attributes": {"subscriptions": {"email": {"marketing": marketing}}}}}
    assert said(ours, "klaviyo", profile) == expected


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (tcf_string(BOUNDARY), "granted"),
        (tcf_string(OLD, disclosed=None), "granted"),
        (tcf_string(BOUNDARY, disclosed=None), "denied"),
        (tcf_string(BOUNDARY, disclosed=(13,)), "denied"),
        (tcf_string(BOUNDARY, vendors=(11,)), "denied"),
        (tcf_string(BOUNDARY, purposes={1}), "denied"),
    ],
)
def test_t43_a_tcf_string_grants_only_with_every_purpose_the_vendor_and_its_disclosure(
    ours: Policy, text: str, state: str
) -> None:
    assert said(ours, "tcf", text) == {"ads": state}


@pytest.mark.parametrize(("text", "ids"), [("DBABM", [2]), ("DBACNY", [2, 6]), ("DBABjw", [5, 6])])
def test_a_gpp_header_is_that_of_the_standard(text: str, ids: list[int]) -> None:
    assert read_gpp_header(text) == ids


def california(sale: int, sharing: int = 0, child: int = 0, gpc: int | None = None) -> str:
    core = (
        Writer()
        .add((1, 6), (1, 2), (1, 2), (1, 2), (sale, 2), (sharing, 2), (0, 18), (child, 2), (0, 2), (0, 8))
        .text()
    )
    header = Writer().add((3, 6), (1, 6), (1, 12), (0, 1), (0b000011, 6)).text()
    return f"{header}~{core}" + ("" if gpc is None else "." + Writer().add((1, 2), (gpc, 1)).text())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (california(0), {}),
        (california(1), {"ads": "objected"}),
        (california(2), {"ads": "granted"}),
        (california(2, sharing=1), {"ads": "objected"}),
        (california(3), {"ads": "objected"}),
        (california(2, gpc=1), {"ads": "objected"}),
        (california(2, gpc=0), {"ads": "granted"}),
        (california(0, child=2), {CHILD: "objected"}),
        ("DBABTA~1YNN", {"ads": "granted"}),
        ("DBABTA~1YYN", {"ads": "objected"}),
        ("DBABTA~1---", {}),
    ],
)
def test_t42_a_gpp_zero_is_no_word_and_an_opt_out_is_an_objection(
    ours: Policy, text: str, expected: dict[str, str]
) -> None:
    assert said(ours, "gpp", text) == expected


# Fields of each state's core segment as its document lists them (Global-Privacy-Platform, Sections/US-States, 2024 and
# 2025): section id, notices, categories of sensitive data, known-child fields, whether additional processing follows.
STATES = [
    (13, 3, 8, 3, True), (14, 3, 8, 3, True), (15, 3, 11, 3, True), (16, 3, 8, 1, True), (17, 3, 9, 5, True),
    (18, 4, 8, 1, False), (19, 3, 8, 1, True), (20, 3, 8, 3, True), (21, 3, 10, 5, True), (22, 3, 8, 1, True),
    (23, 3, 8, 1, True),
]  # fmt: skip


def fibonacci(number: int) -> list[tuple[int, int]]:
    """Write a number in Fibonacci code, bit by bit."""
    steps = [1, 2]
    while steps[-1] <= number:
        steps.append(steps[-1] + steps[-2])
    bits: list[int] = []
    for step in reversed(steps[:-1]):
        bits.insert(0, int(step <= number))
        number -= step if step <= number else 0
    return [(bit, 1) for bit in (*bits, 1)]


def state_section(
    number: int, notices: int, sensitive: int, children: int, more: bool, *, said: tuple[int, int], child: int = 0
) -> str:
    """Write a state's section: every field holds 2 but the choices and the known child."""
    core = Writer().add((1, 6), *[(2, 2)] * notices, *[(one, 2) for one in said], *[(2, 2)] * sensitive)
    core = core.add(*[(child, 2)] * children, *[(2, 2)] * more, (1, 2), (2, 2), (2, 2))
    header = Writer().add((3, 6), (1, 6), (1, 12), (0, 1), *fibonacci(number))
    return f"{header.text()}~{core.text()}"


@pytest.mark.parametrize("state", STATES, ids=lambda state: str(state[0]))
def test_t42_the_newer_states_are_read_field_by_field(ours: Policy, state: tuple[int, int, int, int, bool]) -> None:
    for choices, expected in (
        ((0, 0), {}),
        ((2, 2), {"ads": "granted"}),
        ((1, 2), {"ads": "objected"}),
        ((2, 1), {"ads": "objected"}),
        ((3, 0), {"ads": "objected"}),
    ):
        assert said(ours, "gpp", state_section(*state, said=choices)) == expected
    assert said(ours, "gpp", state_section(*state, said=(0, 0), child=1)) == {CHILD: "objected"}
    with_gpc = state_section(*state, said=(2, 2)) + "." + Writer().add((1, 2), (1, 1)).text()
    assert said(ours, "gpp", with_gpc) == {"ads": "objected"}


@pytest.mark.parametrize("number", [24, 25, 26, 27])
def test_a_section_that_is_only_a_draft_counts_as_opted_out(ours: Policy, number: int) -> None:
    text = state_section(number, 3, 8, 1, True, said=(2, 2))
    assert said(ours, "gpp", text) == {"ads": "objected"}


@pytest.mark.parametrize(("value", "expected"), [("1", {"ads": "objected"}), ("0", {}), ("true", {}), ("11", {})])
def test_t36_gpc_is_one_and_nothing_else(ours: Policy, value: str, expected: dict[str, str]) -> None:
    assert said(ours, "gpc", value) == expected


def test_a_us_choice_is_no_consent_of_a_european(tmp_path: Path) -> None:
    text = SIGNALS.replace(
        "purposes_all_of: [newsletter]\n    identifiers: {email: {transform: pass}, phone",
        "purposes_all_of: [ads]\n    identifiers: {email: {transform: pass}, phone",
    )
    town = Town(tmp_path, text=text)
    town.person("ann", email="ann@example.com")
    row = {**ROW, "payload": california(2), "effective_at": "2026-05-01T00:00:00Z"}
    town.ledger.record(read_signal(row, block("gpp", notice_version=3), town.policy), policy=town.policy)
    assert town.reason("ann", replace(EMAIL, purpose="ads")) == "regime_mismatch"
    town.close()
