"""Why an audience is not brought in step: the sentence that a plan and a run say, without the number of people."""

from __future__ import annotations

from consentry.connectors.base import Capabilities
from consentry.consent.gate import Gate
from consentry.delivery.config import Sync


def withheld(gate: Gate, sync: Sync, code: str, capabilities: Capabilities) -> str:
    """Say why nothing is sent but what withdrawals ask for, by the code of a difference."""
    destination = gate.policy.destinations[sync.destination]
    if code == "suppressed_small":
        what = f"the audience would have fewer than {destination.min_segment:,} people (min_segment)"
    elif code == "below_platform_minimum":
        least = capabilities.audience_min
        what = f"the audience would have fewer than {least:,} people, and the platform makes no use of so small a one"
    else:
        what = f"fewer than {destination.min_change:,} people would join or leave (min_change)"
    return f"Sync {sync.name!r}: {what}, so nothing is sent but what withdrawals ask for. Code {code}."
