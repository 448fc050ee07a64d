"""The vendors that are destinations only."""

from __future__ import annotations

from consentry.testing.sandbox.activecampaign import ActiveCampaign
from consentry.testing.sandbox.google_data_manager import GoogleDataManager
from consentry.testing.sandbox.mailchimp import Mailchimp
from consentry.testing.sandbox.meta import Meta
from consentry.testing.sandbox.segments_by_id import Braze, CustomerIo, Iterable
from consentry.testing.sandbox.vendor import Vendor
from consentry.testing.sandbox.webhook import Webhook

AUDIENCE_VENDORS: tuple[type[Vendor], ...] = (
    ActiveCampaign,
    Braze,
    CustomerIo,
    GoogleDataManager,
    Iterable,
    Mailchimp,
    Meta,
    Webhook,
)
