"""Follow one bulk import of Klaviyo to its end, and say what became of every profile in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from consentry.connectors.base import Ok, Outcome, Rejected, Retry, Unknown
from consentry.connectors.http import Answer, HttpClient, HttpFailed
from consentry.connectors.klaviyo_profile import IDENTIFIERS, Key, identity
from consentry.errors import DestinationFailed

Pages = Callable[[str, Mapping[str, str], str], Iterator[list[dict[str, Any]]]]
Known = Callable[[Collection[Key]], dict[Key, str]]
_PLACE = re.compile(r"/data/attributes/profiles/data/(\d+)(?:/attributes/([a-z_]+))?")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_RETRY_SECONDS = 60.0


class ImportJob:
    """One job that Klaviyo accepted. known: looks profiles up by their identifiers."""

    def __init__(self, http: HttpClient, job: str, pages: Pages, known: Known) -> None:
        self._http, self._pages, self._known = http, pages, known
        self._path = f"/api/profile-bulk-import-jobs/{quote(job, safe='')}"

    def outcomes(self, profiles: Sequence[Mapping[str, Any]]) -> list[Outcome] | None:
        """Return one outcome a profile, in the order in which they were sent; None while the job is under way.

        Refused ones are Rejected with Klaviyo's code; those that it did not report are Unknown, or Retry when the job
        was cancelled. A job that Klaviyo has forgotten says nothing of anybody.
        """
        about = self._about()
        if about is None:
            return [Unknown() for _ in profiles]
        status = str(about.get("status"))
        if status not in ("complete", "cancelled"):
            return None
        refused = self._refused(profiles) if status == "cancelled" or about.get("failed_count") != 0 else {}
        strangers = (made for place, made in enumerate(profiles) if place not in refused and not made.get("id"))
        wanted = [key for made in strangers if (key := identity(made["attributes"]))]
        ids = self._ids(wanted, all_taken=status == "complete" and len(refused) == (about.get("failed_count") or 0))
        missing: Outcome = Retry(_RETRY_SECONDS) if status == "cancelled" else Unknown()
        found: list[Outcome] = []
        for place, made in enumerate(profiles):
            id = made.get("id") if status == "complete" else None
            id = id or ids.get(identity(made["attributes"]) or ("", ""))
            found.append(refused.get(place) or (Ok(id) if id else missing))
        return found

    def _about(self) -> Mapping[str, Any] | None:
        try:
            about: Mapping[str, Any] = _resource(self._http.request("GET", self._path, operation="import_job"))
        except HttpFailed as failed:
            if failed.status != 404:
                raise
            return None
        attributes: Mapping[str, Any] = about["attributes"]
        return attributes

    def _refused(self, profiles: Sequence[Mapping[str, Any]]) -> dict[int, Outcome]:
        places = {identity(made["attributes"]): place for place, made in enumerate(profiles)}
        refused: dict[int, Outcome] = {}
        for page in self._pages(f"{self._path}/import-errors", {"page[size]": "100"}, "import_errors"):
            for error in page:
                about = error.get("attributes") or {}
                pointer = _PLACE.match(str((about.get("source") or {}).get("pointer")))
                place = int(pointer[1]) if pointer else places.get(identity(about.get("original_payload") or {}))
                if place is not None and place < len(profiles):
                    code = str(about.get("code"))
                    field = pointer[2] if pointer else None
                    refused[place] = Rejected(code if _CODE.fullmatch(code) else "import_error", field)
        return refused

    def _ids(self, wanted: Collection[Key], *, all_taken: bool) -> dict[Key, str]:
        """Learn the ids of the profiles that brought none, a hundred a call.

        all_taken: whether all of them are known to be imported. Looking them up by value is five times faster then
        than reading the job's own list (750 calls a minute, and 150), which is asked where that says too little.
        """
        ids = self._known(wanted) if all_taken else {}
        missing = {key for key in wanted if key not in ids}
        if not missing:
            return ids
        params = {"fields[profile]": ",".join(IDENTIFIERS), "page[size]": "100"}
        for page in self._pages(f"{self._path}/profiles", params, "import_profiles"):
            for item in page:
                attributes = item.get("attributes") or {}
                # A profile may be known by more than what the row named it by.
                for name in IDENTIFIERS:
                    key = identity({name: attributes.get(name)})
                    if key in missing and key is not None:
                        ids[key] = item["id"]
        return ids


def matches(answer: Answer) -> list[dict[str, Any]]:
    """Return the resources of a page; raises DestinationFailed when it is no page."""
    found = answer.body.get("data") if isinstance(answer.body, Mapping) else None
    if not isinstance(found, list):
        raise DestinationFailed("Klaviyo answered something that is not its API. Check base_url.", code="garbage")
    return found


def job_id(accepted: Answer) -> str:
    """Return the id of a job that was just accepted."""
    return str(_resource(accepted).get("id"))


def _resource(answer: Answer) -> Mapping[str, Any]:
    data = answer.body.get("data") if isinstance(answer.body, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(data.get("attributes"), Mapping):
        raise DestinationFailed("Klaviyo answered something that is not its API. Check base_url.", code="garbage")
    return data
