"""What the simulators of vendors that are only read have in common: no lists, few headers, one shape of error."""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.limits import Window
from consentry.testing.sandbox.vendor import Call, Json, Refused, Vendor


class PlainVendor(Vendor):
    """Base of a simulator that is only read. A vendor overrides what it does differently.

    codes: the vendor's words for the common refusals.
    """

    codes: ClassVar[dict[str, str]] = {
        "unauthorized": "unauthorized",
        "limited": "rate_limited",
        "unavailable": "service_unavailable",
        "invalid": "invalid_request",
    }

    def members(self) -> dict[str, list[str]]:
        """Return nothing: there are no lists."""
        return {}

    def problem(self, refused: Refused) -> Response:
        """Write a refusal as `{error, request}`, the commonest shape."""
        return self.json(self.problem_body(refused), refused.status)

    def problem_body(self, refused: Refused) -> Json:
        """Return the body of a refusal."""
        return {"error": refused.detail, **refused.more}

    def refuse_credentials(self, wanted: bool) -> None:
        """Raise the vendor's 401 unless the credentials are those wanted."""
        if not wanted:
            raise Refused(401, self.codes["unauthorized"], "The credentials are not valid.")

    def invalid(self, detail: str) -> Refused:
        """Return the vendor's 400."""
        return Refused(400, self.codes["invalid"], detail)

    def fault_refusal(self, fault: Fault) -> Refused | None:
        """Return the refusal that a planned fault asks for."""
        match fault.kind:
            case "rate_limited":
                refused = Refused(429, self.codes["limited"], "Too many requests.")
                refused.headers = fault.retry_after_header()
                return refused
            case "revoked_scope":
                return Refused(403, "forbidden", "This key may not do that.")
            case "daily_limit":
                refused = Refused(429, self.codes["limited"], "The quota is used up.")
                refused.headers = {"Retry-After": "43200"}
                return refused
            case "server_error":
                return Refused(fault.status, self.codes["unavailable"], "The service is not available.")
            case "expired_token":
                return Refused(401, self.codes["unauthorized"], "The token has expired.")
            case "refused_batch":
                return self.invalid("The request was refused as a whole.")
            case _:
                return None

    def limit_headers(self, windows: list[Window]) -> dict[str, str]:
        """Return no headers: the vendor documents none."""
        return {}

    def limit_refusal(self, window: Window) -> Refused:
        """Refuse without saying how long to wait."""
        return Refused(429, self.codes["limited"], "Too many requests.")


def basic(call: Call) -> str:
    """Return `user:password` of HTTP Basic authentication, empty when there is none."""
    kind, _, coded = call.header("authorization").partition(" ")
    try:
        return base64.b64decode(coded, validate=True).decode() if kind == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""
