"""The vendors that the sandbox plays: one line each."""

from __future__ import annotations

from consentry.testing.sandbox.amplitude import Amplitude
from consentry.testing.sandbox.audience_vendors import AUDIENCE_VENDORS
from consentry.testing.sandbox.enrichment import FullContact, PeopleDataLabs
from consentry.testing.sandbox.ga4 import GA4
from consentry.testing.sandbox.hubspot import HubSpot
from consentry.testing.sandbox.intercom import Intercom
from consentry.testing.sandbox.klaviyo import Klaviyo
from consentry.testing.sandbox.mixpanel import Mixpanel
from consentry.testing.sandbox.pipedrive import Pipedrive
from consentry.testing.sandbox.posthog import PostHog
from consentry.testing.sandbox.salesforce import Salesforce
from consentry.testing.sandbox.vendor import Vendor

VENDORS: tuple[type[Vendor], ...] = (
    PostHog,
    Amplitude,
    FullContact,
    GA4,
    HubSpot,
    Intercom,
    Klaviyo,
    Mixpanel,
    PeopleDataLabs,
    *AUDIENCE_VENDORS,
    Pipedrive,
    Salesforce,
)
