"""Which version of a vendor's API a connector speaks, and when the vendor stops supporting it.

Versions end (Klaviyo's after two years, HubSpot's after 18 months), and calls then fail or change their meaning. The
version is one constant a connector, sent with every request; a sentence says in time that a newer consentry is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar, Protocol, runtime_checkable

# A connector is changed and released in less.
NOTICE = timedelta(days=180)


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """A version of a vendor's API. ends: the first day without support; source: who says so, and when it was read."""

    vendor: str
    name: str
    ends: date
    source: str

    def remark(self, today: date) -> str | None:
        """Return a sentence when the end is near or past, None when it is far away."""
        if today < self.ends - NOTICE:
            return None
        when = "ends" if today < self.ends else "ended"
        return (
            f"{self.vendor}'s support of API version {self.name}, which this release speaks, {when} on {self.ends}. "
            "Update consentry."
        )


@runtime_checkable
class Versioned(Protocol):
    """A connector whose vendor says how long it supports the version that the connector speaks."""

    api_version: ClassVar[ApiVersion]


def ending(connector: object, today: date) -> str | None:
    """Return the sentence about a connector's version when its end is near, None otherwise."""
    return connector.api_version.remark(today) if isinstance(connector, Versioned) else None
