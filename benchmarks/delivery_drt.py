"""Let drt-core write contacts to the HubSpot simulator; runs in an environment that has drt-core and httpx."""

from __future__ import annotations

import json
import sys
import time

from drt.config.models import HubSpotDestinationConfig
from drt.config.sync_options import SyncOptions
from drt.destinations import hubspot


def main(base: str, rows: str) -> None:
    """Upsert so many contacts, one request a row, and print how long it took."""
    # The simulator plays HubSpot's dated paths; what is asked of them is the same.
    hubspot._HUBSPOT_API = f"{base}/crm/objects/2026-09"
    auth = {"type": "bearer", "token": "sandbox-hubspot"}
    config = HubSpotDestinationConfig.model_validate({"type": "hubspot", "auth": auth})
    records = [{"email": f"drt{n}@example.com", "firstname": "lead"} for n in range(int(rows))]
    started = time.monotonic()
    result = hubspot.HubSpotDestination().load(records, config, SyncOptions())
    print(json.dumps({"seconds": time.monotonic() - started, "success": result.success, "failed": result.failed}))


main(*sys.argv[1:])
