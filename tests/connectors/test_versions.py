"""Trap 13: the version of a vendor's API is one constant, sent with every request, and its end is told in time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

import httpx
import pytest

from consentry.connectors import hubspot, salesforce
from consentry.connectors.base import Source
from consentry.connectors.hubspot import HubSpot, HubSpotConfig
from consentry.connectors.intercom import Intercom, IntercomConfig
from consentry.connectors.registry import connectors
from consentry.connectors.salesforce import Salesforce, SalesforceConfig
from consentry.connectors.versions import ApiVersion, Versioned, ending
from consentry.testing.sandbox import Sandbox
from tests.connectors.recorder import Recorder

ENDS = date(2028, 3, 8)
VERSION = ApiVersion("Vendor", "2026-09", ENDS, "Vendor, Versioning, November 2026")


class _Ending:
    api_version: ClassVar[ApiVersion] = VERSION


@pytest.mark.parametrize(
    ("days", "said"), [(-181, None), (-180, "ends on 2028-03-08"), (-1, "ends on"), (0, "ended on"), (900, "ended on")]
)
def test_trap_13_the_end_of_a_version_is_told_half_a_year_before(days: int, said: str | None) -> None:
    told = ending(_Ending(), ENDS + timedelta(days=days))
    assert told is None if said is None else told is not None and said in told and "Update consentry" in told
    assert ending(object(), ENDS) is None


def test_trap_13_every_dated_version_has_an_end_that_is_still_to_come() -> None:
    dated = {name: kind for name, kind in connectors().items() if isinstance(kind, Versioned)}
    assert set(dated) >= {"hubspot", "klaviyo", "salesforce"}
    for name, kind in dated.items():
        assert isinstance(kind, Versioned)
        version = kind.api_version
        assert version.source and datetime.now(UTC).date() < version.ends, f"{name} speaks a version that ended"


def _source(sandbox: Sandbox, name: str, transport: httpx.BaseTransport) -> tuple[Source, str]:
    how: dict[str, Any] = {"transport": transport, "account": "versions", "sleep": lambda seconds: None}
    url = sandbox.url(name)
    if name == "salesforce":
        login = {"client_id": "sandbox-client", "client_secret": "sandbox-salesforce"}
        return Salesforce(SalesforceConfig.model_validate({"base_url": url, **login}), **how), salesforce.API.name
    if name == "intercom":
        space = IntercomConfig.model_validate({"base_url": url, "token": "sandbox-intercom"})
        return Intercom(space, **how), "2.16"
    portal = HubSpotConfig.model_validate({"base_url": url, "token": "sandbox-hubspot"})
    return HubSpot(portal, **how), hubspot.API.name


@pytest.mark.parametrize("name", ["hubspot", "salesforce", "intercom"])
def test_trap_13_the_version_is_in_every_request(sandbox: Sandbox, name: str) -> None:
    recorder = Recorder()
    source, version = _source(sandbox, name, recorder)
    source.check()
    list(source.read(source.discover()[0], {}))
    asked = [one for one in recorder.seen if not one.url.path.endswith("/oauth2/token")]
    assert len(asked) > 2
    assert all(version in (one.url.path + one.headers.get("intercom-version", "")) for one in asked)
    recorder.close()
