"""Hand operations to Mailchimp as one batch, and read the status of each from the archive of its results."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from consentry.connectors.base import Ok, Outcome, Rejected, Retry, Unknown
from consentry.connectors.http import AnswerLost, HttpClient, HttpFailed
from consentry.connectors.http_destination import shaped

_MEMBER_BYTES = 200_000_000
_TITLES = {
    "Member In Compliance State": "compliance_state",
    "Invalid Resource": "invalid_resource",
    "Forgotten Email Not Subscribed": "forgotten_email",
    "Resource Not Found": "not_on_list",
}


def start(http: HttpClient, operations: Sequence[Mapping[str, str]]) -> str:
    """Hand over operations, whose `operation_id` is their place among them, and return the name of the batch."""
    body = {"operations": [dict(one) for one in operations]}
    return str(shaped(http.request("POST", "/3.0/batches", body=body, repeatable=True), http.vendor).get("id"))


def ended(http: HttpClient, batch: str, count: int) -> list[Outcome] | None:
    """Return the outcome of each operation of a batch, by its place; None while it is under way.

    Those of which the results say nothing are Unknown, as are all when Mailchimp does not know the batch any more.
    """
    found: list[Outcome] = [Unknown()] * count
    try:
        about = shaped(http.request("GET", f"/3.0/batches/{quote(batch, safe='')}"), http.vendor)
    except HttpFailed as failed:
        if failed.status != 404:
            raise
        return found
    if about.get("status") != "finished":
        return None
    for item in _results(http, str(about.get("response_body_url"))):
        place = item.get("operation_id")
        if isinstance(place, str) and place.isdigit() and int(place) < count:
            found[int(place)] = _outcome(item)
    return found


def _outcome(item: Mapping[str, Any]) -> Outcome:
    status = item.get("status_code")
    if isinstance(status, int) and 200 <= status < 300:
        return Ok()
    if status == 429 or (isinstance(status, int) and status >= 500):
        return Retry(60.0)
    try:
        problem = json.loads(str(item.get("response")))
    except ValueError:
        problem = {}
    title = problem.get("title") if isinstance(problem, dict) else None
    return Rejected(_TITLES.get(str(title), f"http_{status}" if isinstance(status, int) else "refused"))


def _results(http: HttpClient, url: str) -> Iterator[dict[str, Any]]:
    """Yield what stands in the archive. It lies on a store elsewhere, which must not see the key."""
    where = urlsplit(url)
    if where.scheme != "https" and where.netloc != urlsplit(http.base_url).netloc:
        raise AnswerLost(
            "Mailchimp's results are offered without encryption, which is not followed.", code="plain_http"
        )
    # The address itself is the permission: this client has no headers.
    store = HttpClient(
        f"{where.scheme}://{where.netloc}", vendor=http.vendor, account=f"{http.account}/results", headers=lambda: {}
    )
    with tempfile.TemporaryFile() as file:
        # As it was given: its query is signed.
        store.request("GET", f"{where.path}?{where.query}" if where.query else where.path, into=file)
        yield from _unpacked(file)


def _unpacked(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Read the JSON files of an archive without writing any of its names to the disk."""
    broken = False
    try:
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            for about in archive:
                content = archive.extractfile(about) if about.isfile() and about.size <= _MEMBER_BYTES else None
                items = json.load(content) if content else []
                yield from (item for item in items if isinstance(item, dict))
    except (tarfile.TarError, EOFError, OSError, ValueError):
        broken = True
    if broken:
        raise AnswerLost("Mailchimp's results of a batch cannot be read. Run again.", code="results_unreadable")
