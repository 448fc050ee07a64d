"""Mailchimp as consentry meets it: lists, static segments, the list batch, batch operations.

Contract: the vendor's Marketing API 3.0 (description 3.0.55 and the Python client 3.0.80); errors as quoted in
mailchimp-for-wordpress #798. Not simulated: merge validation, campaigns, webhooks.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from starlette.responses import Response

from consentry.testing.sandbox.audiences import AudienceVendor, operations
from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.plain import basic
from consentry.testing.sandbox.vendor import Call, Json, Operation, Refused, instant, whole_number

BATCH_MAX = 500
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_MEMBER = re.compile(r"/lists/(?P<list>[^/]+)/members/(?P<hash>[0-9a-f]{32})")
_STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")


class Mailchimp(AudienceVendor):
    """One Mailchimp account; audiences are `<list>/<segment>`, members the MD5 of their address."""

    name: ClassVar[str] = "mailchimp"
    token: ClassVar[str] = "sandbox-us6"

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.jobs: dict[str, tuple[int, list[Json]]] = {}
        self.failing: dict[str, frozenset[int]] = {}
        self.polls_to_complete = 2

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        return operations(
            [
                ("GET", "/3.0/ping", lambda call: self.json({"health_status": "Everything's Chimpy!"})),
                ("POST", "/3.0/lists/{list}", self.list_batch),
                ("GET", "/3.0/lists/{list}/members", self.members_of),
                ("GET", "/3.0/lists/{list}/members/{hash}", self.read_member),
                ("GET", "/3.0/lists/{list}/segments/{segment}", self.read_segment),
                ("GET", "/3.0/lists/{list}/segments/{segment}/members", self.segment_members),
                ("POST", "/3.0/lists/{list}/segments/{segment}", self.change_segment),
                ("POST", "/3.0/batches", self.start),
                ("GET", "/3.0/batches/{id}", self.poll),
                ("GET", "/results/{id}", self.results),
            ]
        )

    def authenticate(self, call: Call) -> None:
        """Ask for Basic authentication with the key; results are fetched by their address alone."""
        if not call.request.url.path.startswith("/mailchimp/results/"):
            self.refuse_credentials(basic(call).partition(":")[2] == self.token)

    def problem_body(self, refused: Refused) -> Json:
        """Write problem+json."""
        titles = {401: "API Key Invalid", 404: "Resource Not Found", 400: "Invalid Resource"}
        title = refused.code if " " in refused.code else titles.get(refused.status, "Error")
        return {"type": "about:blank", "title": title, "status": refused.status, "detail": refused.detail}

    def fault_refusal(self, fault: Fault) -> Refused | None:
        """Turn requests away with a bare 403, as the vendor does under load."""
        return Refused(403, "busy", "") if fault.kind == "rate_limited" else super().fault_refusal(fault)

    def problem(self, refused: Refused) -> Response:
        """Write a refusal; the 403 of a busy account has no JSON."""
        return Response("Forbidden", 403) if refused.code == "busy" else super().problem(refused)

    def join(self, list_id: str, email: str, status: str = "subscribed", at: str = instant(0)) -> str:
        """Put somebody on a list, as a form would; returns the subscriber hash."""
        with self.lock:
            key = _hash({"email_address": email})
            self.people[f"{list_id}/{key}"] = _person(email, status, at)
            return key

    # The list batch ---------------------------------------------------------------------------------------------

    def list_batch(self, call: Call) -> Response:
        """POST members: 200 with errors inside."""
        list_id, body = call.path("list"), self.body(call)
        self._list(list_id)
        members = self.listed(body, "members", BATCH_MAX, lambda one: isinstance(one, dict) and "status" in one)
        created: list[Json] = []
        updated: list[Json] = []
        errors: list[Json] = []
        for place, one in enumerate(members):
            try:
                if place in call.failing_rows():
                    raise Refused(400, "ERROR_GENERIC", "The sandbox refuses this row.")
                known = f"{list_id}/{_hash(one)}" in self.people
                if known and not body.get("update_existing"):
                    raise Refused(400, "ERROR_CONTACT_EXISTS", "is already a list member")
                (updated if known else created).append(self._put(list_id, one, one["status"]))
            except Refused as refused:
                errors.append(
                    {
                        "email_address": one.get("email_address"),
                        "error": f"{one.get('email_address')} {refused.detail}",
                        "error_code": refused.code if refused.code.isupper() else "ERROR_GENERIC",
                    }
                )
        shown = {"new_members": created, "updated_members": updated, "errors": errors}
        totals = {"total_created": len(created), "total_updated": len(updated), "error_count": len(errors)}
        return self.json(shown | totals)

    def _put(self, list_id: str, one: dict[str, Json], status: str | None) -> Json:
        email = one.get("email_address")
        if not isinstance(email, str) or not _EMAIL.fullmatch(email):
            raise Refused(400, "Invalid Resource", "looks fake or invalid, please enter a real email address")
        key = _hash(one)
        known = self.people.get(f"{list_id}/{key}")
        if known and status == "subscribed" and known["status"] in ("unsubscribed", "cleaned"):
            raise Refused(400, "Member In Compliance State", "is in a compliance state due to unsubscribe")
        if known is None and status not in _STATUSES:
            raise Refused(400, "Invalid Resource", "status is required")
        before = known or _person(email, str(status), instant(self.next_id()))
        merged = {**before["merge_fields"], **(one.get("merge_fields") or {})}
        now = {**before, "status": status or before["status"], "merge_fields": merged}
        self.people[f"{list_id}/{key}"] = now
        return {"id": key, **now}

    # Segments ---------------------------------------------------------------------------------------------------

    def change_segment(self, call: Call) -> Response:
        """POST members_to_add and members_to_remove; addresses that are not on the list are passed over."""
        body, members = self.body(call), self._segment(call)
        list_id = call.path("list")
        add, remove = body.get("members_to_add") or [], body.get("members_to_remove") or []
        if max(len(add), len(remove)) > BATCH_MAX:
            raise self.invalid("At most 500 members are allowed.")
        added, removed = [], []
        for place, email in enumerate(add):
            key = _hash({"email_address": email})
            if f"{list_id}/{key}" in self.people and key not in members and place not in call.failing_rows():
                members[key] = True
                added.append({"id": key, "email_address": email})
        for email in remove:
            key = _hash({"email_address": email})
            if members.pop(key, None):
                removed.append({"id": key, "email_address": email})
        shown = {"members_added": added, "members_removed": removed, "errors": [], "error_count": 0}
        return self.json(shown | {"total_added": len(added), "total_removed": len(removed)})

    def read_segment(self, call: Call) -> Response:
        """GET a segment."""
        return self.json({"id": call.path("segment"), "member_count": len(self._segment(call)), "type": "static"})

    def segment_members(self, call: Call) -> Response:
        """GET members: 10 by default, 1,000 at most."""
        count = whole_number(call.query("count", "10"), least=1, most=1000)
        offset = whole_number(call.query("offset", "0"), least=0, most=10**9)
        if count is None or offset is None:
            raise self.invalid("count must be from 1 to 1000")
        members = sorted(self._segment(call))
        page = [{"id": key} for key in members[offset : offset + count]]
        return self.json({"members": page, "total_items": len(members)})

    def members_of(self, call: Call) -> Response:
        """GET the members of a list by status: 10 by default, 1,000 at most."""
        self._list(call.path("list"))
        count = whole_number(call.query("count", "10"), least=1, most=1000)
        offset = whole_number(call.query("offset", "0"), least=0, most=10**9)
        if count is None or offset is None:
            raise self.invalid("count must be from 1 to 1000")
        since = call.query("since_last_changed")
        found = [
            {"id": key.partition("/")[2], "email_address": one["email_address"], "last_changed": one["last_changed"]}
            for key, one in self.people.items()
            if key.startswith(f"{call.path('list')}/") and one["status"] == call.query("status", one["status"])
            if not since or datetime.fromisoformat(one["last_changed"]) >= datetime.fromisoformat(since)
        ]
        return self.json({"members": found[offset : offset + count], "total_items": len(found)})

    def read_member(self, call: Call) -> Response:
        """GET a member with the segments it is in."""
        list_id, key = call.path("list"), call.path("hash")
        if f"{list_id}/{key}" not in self.people:
            raise Refused(404, "not_found", "The requested resource could not be found.")
        inside = [name for name, members in self.audiences.items() if name.startswith(f"{list_id}/") and key in members]
        tags = [{"id": int(name.partition("/")[2]), "name": name} for name in inside]
        return self.json({"id": key, "tags": tags, **self.people[f"{list_id}/{key}"]})

    # Batch operations -------------------------------------------------------------------------------------------

    def start(self, call: Call) -> Response:
        """POST operations: each body is text, and no path begins with /3.0 (APIv3-examples #26, #28)."""
        items = self.listed(
            self.body(call),
            "operations",
            BATCH_MAX,
            lambda one: (
                isinstance(one, dict) and isinstance(one.get("body", ""), str) and {"method", "path"} <= set(one)
            ),
        )
        job = f"job{self.next_id()}"
        self.jobs[job] = (self.polls_to_complete, items)
        self.failing[job] = call.failing_rows()
        return self.json(self._shown(call, job))

    def poll(self, call: Call) -> Response:
        """GET a batch; asking makes its time pass."""
        job = call.path("id")
        if job not in self.jobs:
            raise Refused(404, "not_found", "The requested resource could not be found.")
        left, items = self.jobs[job]
        self.jobs[job] = (max(0, left - 1), items)
        return self.json(self._shown(call, job))

    def results(self, call: Call) -> Response:
        """GET the results: a tar.gz of JSON files, one status an operation."""
        job = call.path("id")
        failing = self.failing[job]
        done = [self._carry_out(one, place in failing) for place, one in enumerate(self.jobs[job][1])]
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for number in range(0, len(done), 100):
                raw = json.dumps(done[number : number + 100]).encode()
                about = tarfile.TarInfo(f"./{job}-{number}.json")
                about.size = len(raw)
                archive.addfile(about, io.BytesIO(raw))
        return Response(packed.getvalue(), media_type="application/octet-stream")

    def _carry_out(self, one: dict[str, Json], failing: bool) -> Json:
        found = _MEMBER.fullmatch(one["path"])
        status = 200
        answer: Json = None
        try:
            if failing or not found:
                raise Refused(404 if not found else 400, "Invalid Resource", "was refused")
            if one["method"] == "PATCH" and f"{found['list']}/{found['hash']}" not in self.people:
                raise Refused(404, "not_found", "The requested resource could not be found.")
            body = json.loads(one["body"])
            email = body.get("email_address") or self.people[f"{found['list']}/{found['hash']}"]["email_address"]
            known = f"{found['list']}/{found['hash']}" in self.people
            status_now = body.get("status") or (None if known else body.get("status_if_new"))
            answer = self._put(found["list"], {**body, "email_address": email}, status_now)
        except Refused as refused:
            status, answer = refused.status, self.problem_body(refused)
        return {"status_code": status, "operation_id": one.get("operation_id"), "response": json.dumps(answer)}

    def _shown(self, call: Call, job: str) -> Json:
        left, items = self.jobs[job]
        base = str(call.request.url.replace(path=call.request.scope["root_path"], query=""))
        url = "" if left else f"{base}/results/{job}"
        return {
            "id": job,
            "status": "started" if left else "finished",
            "total_operations": len(items),
            "response_body_url": url,
        }

    def _list(self, list_id: str) -> None:
        if not any(name.startswith(f"{list_id}/") for name in self.audiences):
            raise Refused(404, "not_found", "The requested resource could not be found.")

    def _segment(self, call: Call) -> dict[str, Json]:
        return self.audience(f"{call.path('list')}/{call.path('segment')}")


def _person(email: str, status: str, at: str) -> dict[str, Json]:
    return {"email_address": email, "status": status, "merge_fields": {}, "last_changed": at}


def _hash(one: dict[str, Json]) -> str:
    return hashlib.md5(str(one.get("email_address")).lower().encode(), usedforsecurity=False).hexdigest()
