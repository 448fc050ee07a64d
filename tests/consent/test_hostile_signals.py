"""No payload, however made, becomes a grant by accident or keeps a reader busy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from consent_signals import BOUNDARY, ROW, SIGNALS, block, said, tcf_string
from consent_town import policy
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.consent.policy import Policy
from consentry.consent.signals.bits import Malformed
from consentry.consent.signals.iab import read_gpp, read_tcf
from consentry.consent.signals.read import read_signal

KINDS = ("onetrust", "cookiebot", "tcf", "gpp", "gpc", "segment", "rudderstack", "mparticle", "hubspot", "klaviyo")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("payload", ["", "null", "[]", "{", "1e999", "[" * 100_000, "x" * 10_000_000, "\x00", "{}"])
def test_t8_t73_what_cannot_be_read_grants_nothing_and_takes_no_time(ours: Policy, kind: str, payload: str) -> None:
    started = time.process_time()
    rows = list(read_signal({**ROW, "payload": payload}, block(kind), ours))
    assert time.process_time() - started < 2
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
    started = time.process_time()
    for kind in ("tcf", "gpp"):
        assert "granted" not in said(ours, kind, text).values()
    assert time.process_time() - started < 1


def _quick(read: Callable[[], object]) -> None:
    started = time.process_time()
    with contextlib.suppress(Malformed):
        read()
    assert time.process_time() - started < 0.5


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
