"""What platforms send becomes a grant only when it says so, in words that are listed, and can be proven."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from consent_town import EMAIL, POLICY, Town, policy
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.consent.policy import Policy
from consentry.consent.rules import CHILD
from consentry.consent.signals.bits import Malformed
from consentry.consent.signals.iab import read_gpp, read_gpp_header, read_tcf
from consentry.consent.signals.read import read_signal
from consentry.consent.signals.rows import UNREADABLE, SignalBlock

SIGNALS = (
    POLICY.replace(
        "    ttl: P6M\n", "    ttl: P6M\n    sale_or_sharing: true\n    alias: [{tcf: [1, 3]}, 'cookiebot:marketing']\n"
    )
).replace(
    'alias: ["segment:Newsletter"]', 'alias: ["segment:Newsletter", "onetrust:p-1", "klaviyo:email", "hubspot:7"]'
)
KINDS = ("onetrust", "cookiebot", "tcf", "gpp", "gpc", "segment", "rudderstack", "mparticle", "hubspot", "klaviyo")
ROW = {
    "identifier_type": "email",
    "identifier_value": "ann@example.com",
    "source_event_id": "e1",
    "source_system": "cmp",
}


@pytest.fixture
def ours(tmp_path: Path) -> Policy:
    """A policy with the aliases of every platform."""
    return policy(tmp_path, SIGNALS)


def block(kind: str, **more: Any) -> SignalBlock:
    return SignalBlock.model_validate({"type": kind, **({"vendor": 12} if kind == "tcf" else {}), **more})


def said(ours: Policy, kind: str, payload: object, **row: object) -> dict[str, str]:
    """Return {purpose: state} of a payload."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    rows = list(read_signal({**ROW, **row, "payload": text}, block(kind), ours))
    return {str(one["purpose"]): str(one["state"]) for one in rows}


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


class Writer:
    """Write bit strings as the IAB does."""

    def __init__(self) -> None:
        self.bits = ""

    def add(self, *fields: tuple[int, int]) -> Writer:
        self.bits += "".join(f"{value:0{size}b}" for value, size in fields)
        return self

    def text(self) -> str:
        padded = self.bits + "0" * (-len(self.bits) % 6)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        return "".join(letters[int(padded[n : n + 6], 2)] for n in range(0, len(padded), 6))


def tcf_string(
    created: datetime, purposes: Collection[int] = frozenset({1, 3}), vendors: tuple[int, ...] = (12,),
    disclosed: tuple[int, ...] | None = (12,),
) -> str:  # fmt: skip
    at = int(created.timestamp() * 10)
    field = sum(1 << (24 - number) for number in purposes)
    core = Writer().add((2, 6), (at, 36), (at, 36), (1, 12), (1, 12), (1, 6), (0, 12), (1, 12), (4, 6), (0, 2), (0, 12))
    core.add((field, 24), (0, 24), (0, 1), (0, 12), (20, 16), (0, 1), (sum(1 << (20 - v) for v in vendors), 20))
    segments = [core.text()]
    if disclosed is not None:
        ranges = Writer().add((1, 3), (20, 16), (1, 1), (len(disclosed), 12))
        for vendor in disclosed:
            ranges.add((0, 1), (vendor, 16))
        segments.append(ranges.text())
    return ".".join(segments)


OLD, BOUNDARY = datetime(2026, 2, 27, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("payload", ["", "null", "[]", "{", "1e999", "[" * 100_000, "x" * 10_000_000, "\x00", "{}"])
def test_t8_t73_what_cannot_be_read_grants_nothing_and_takes_no_time(ours: Policy, kind: str, payload: str) -> None:
    started = time.monotonic()
    rows = list(read_signal({**ROW, "payload": payload}, block(kind), ours))
    assert time.monotonic() - started < 0.5
    assert all(row["state"] != "granted" for row in rows)
    assert all(len(str(row)) < 1_000 for row in rows)


def test_t73_a_million_purposes_are_not_read(ours: Policy) -> None:
    receipt = {"purposes": [{"Id": str(n), "TransactionType": "CONFIRMED"} for n in range(4_000)]}
    assert len(said(ours, "onetrust", receipt)) == 200


HOSTILE = [
    "C" * 20_000, "CA" + "_" * 19_000, "COw", "C!!!", tcf_string(BOUNDARY)[:-9], tcf_string(BOUNDARY) + ".____",
    "DBAA~", "DB__", "D" + "_" * 5_000, "DBABM~" * 3_000, "DBACNY~BBBB", "D~", "~~~~",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_t72_a_hostile_string_is_refused_at_once(ours: Policy, text: str) -> None:
    started = time.monotonic()
    for kind in ("tcf", "gpp"):
        assert "granted" not in said(ours, kind, text).values()
    assert time.monotonic() - started < 0.2


def _quick(read: Callable[[], object]) -> None:
    started = time.process_time()
    with contextlib.suppress(Malformed):
        read()
    assert time.process_time() - started < 0.05


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from("ABCDabcd0189-_~.'{}:,tfre"), max_size=400))
def test_t74_no_text_keeps_a_decoder_busy(text: str) -> None:
    _quick(lambda: read_tcf(text, 12))
    _quick(lambda: read_gpp(text))


@pytest.mark.parametrize("kind", ["cookiebot", "onetrust", "segment", "rudderstack", "mparticle", "hubspot", "klaviyo"])
def test_t74_repeated_letters_keep_no_reader_busy(ours: Policy, kind: str) -> None:
    for piece in ("stamp:'", "marketing:true,", "{", "'", "%27", '{"a":', "\\"):
        _quick(lambda piece=piece: said(ours, kind, "{" + piece * (50_000 // len(piece)) + "}"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ("purposes", "Id", "TransactionType", "context", "consent", "categoryPreferences", "consent_state", "gdpr",
         "ccpa",
         "subscriptionStatuses", "data", "attributes", "subscriptions", "email", "marketing", "id", "status", "p",
         "consentManagement", "allowedConsentIds", "deniedConsentIds", "data_sale_opt_out")), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(payload=JSON)
def test_no_json_of_any_shape_breaks_a_reader(tmp_path_factory: pytest.TempPathFactory, payload: object) -> None:
    ours = policy(tmp_path_factory.getbasetemp(), SIGNALS)
    for kind in ("onetrust", "segment", "rudderstack", "mparticle", "hubspot", "klaviyo"):
        said(ours, kind, payload)
