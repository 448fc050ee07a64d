"""Klaviyo as consentry meets it: profiles, bulk imports, lists, subscriptions, suppressions, erasure.

Contract: the vendor's published OpenAPI description, revision 2026-07-15 (klaviyo/openapi, MIT), line numbers
from its profiles.json and lists.json; error words from the vendor's own answers quoted in klaviyo-api-ruby #19.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from starlette.responses import Response

from consentry.testing.sandbox import klaviyo_checks as checks
from consentry.testing.sandbox import klaviyo_query as query
from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.klaviyo_state import (
    IDENTIFIERS,
    Account,
    AudienceList,
    ImportJob,
    Profile,
    check_attributes,
)
from consentry.testing.sandbox.limits import Limit, Window, whole_seconds
from consentry.testing.sandbox.vendor import Call, Handler, Json, Operation, Refused, Vendor

# `x-klaviyo-ratelimit` of the operations: burst and steady window.
_XL = (Limit(75, 1, "burst"), Limit(750, 60, "steady"))
_M = (Limit(10, 1, "burst"), Limit(150, 60, "steady"))
_S = (Limit(3, 1, "burst"), Limit(60, 60, "steady"))
_NEW_LIST = (*_M, Limit(150, 86_400, "daily"))
IMPORT_MAX, IMPORT_BYTES, PROFILE_BYTES = 10_000, 5_000_000, 100_000
MEMBERS_MAX, SUBSCRIBE_MAX, UNSUBSCRIBE_MAX, SUPPRESS_MAX = 1000, 1000, 100, 100
_REVISION = re.compile(r"20\d\d-\d\d-\d\d(\.[a-z]+)?")
_BULK = "/api/profile-bulk-import-jobs"
_MEMBERS = "/api/lists/{id}/relationships/profiles"


class Klaviyo(Vendor):
    """One Klaviyo account. `polls_to_complete`: how often an import is asked after before it is applied."""

    name: ClassVar[str] = "klaviyo"
    token: ClassVar[str] = "sandbox-klaviyo"
    data_file: ClassVar[str | None] = "newsletter_lists.jsonl"
    media_type: ClassVar[str] = "application/vnd.api+json"

    def reset(self) -> None:
        """Forget everything: the state of a new account."""
        self.account = Account()
        self.polls_to_complete = 2
        self.subscribe_calls = 0

    def load(self, path: Path) -> int:
        """Load lists from JSON lines of `id` and `name`."""
        lists = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        with self.lock:
            for one in lists:
                self.account.make_list(one["name"], one["id"])
        return len(lists)

    def operations(self) -> Sequence[Operation]:
        """List what the API can do."""
        table: list[tuple[str, str, Handler, tuple[Limit, ...]]] = [
            ("GET", "/api/profiles", self.list_profiles, _XL),
            ("POST", "/api/profiles", self.create_profile, _XL),
            ("GET", "/api/profiles/{id}", self.read_profile, _XL),
            ("PATCH", "/api/profiles/{id}", self.update_profile, _XL),
            ("POST", "/api/profile-import", self.upsert_profile, _XL),
            ("POST", _BULK, self.bulk_import, _M),
            ("GET", f"{_BULK}/{{id}}", self.read_job, _M),
            ("GET", f"{_BULK}/{{id}}/import-errors", self.job_errors, _M),
            ("GET", f"{_BULK}/{{id}}/profiles", self.job_profiles, _M),
            ("GET", "/api/lists", self.list_lists, _XL),
            ("POST", "/api/lists", self.create_list, _NEW_LIST),
            ("GET", "/api/lists/{id}", self.read_list, _XL),
            ("GET", "/api/lists/{id}/profiles", self.list_members, _XL),
            ("GET", _MEMBERS, self.list_member_ids, _XL),
            ("POST", _MEMBERS, self.add_members, _M),
            ("DELETE", _MEMBERS, self.remove_members, _M),
            ("POST", "/api/profile-subscription-bulk-create-jobs", self.subscribe, _XL),
            ("POST", "/api/profile-subscription-bulk-delete-jobs", self.unsubscribe, _XL),
            ("POST", "/api/profile-suppression-bulk-create-jobs", self.suppress, _XL),
            ("POST", "/api/data-privacy-deletion-jobs", self.erase, _S),
        ]
        return [Operation(method, path, handler, limits) for method, path, handler, limits in table]

    def members(self) -> dict[str, list[str]]:
        """Return the profile ids of every list, by the list's name."""
        with self.lock:
            return {one.name: sorted(one.members) for one in self.account.lists.values()}

    def member_values(self, list_name: str, attribute: str = "email") -> set[Any]:
        """Return what the members of a list have as an attribute, for a test to compare."""
        with self.lock:
            listed = next(one for one in self.account.lists.values() if one.name == list_name)
            return {self.account.profiles[one].value(attribute) for one in listed.members}

    def finish_jobs(self) -> None:
        """Apply all imports that wait."""
        with self.lock:
            for job in self.account.jobs.values():
                if job.status != "complete":
                    self.account.finish(job)

    # Profiles -----------------------------------------------------------------------------------------------

    def list_profiles(self, call: Call) -> Response:
        """GET profiles: 20 a page and 100 at most (profiles.json:477)."""
        named = query.named(call.query("filter"), IDENTIFIERS)
        found = list(self.account.profiles.values()) if named is None else self.account.found(*named)
        found = query.chosen(found, call.query("filter"), query.PROFILE_FILTERS, Profile.value)
        found = query.ordered(found, call.query("sort"), query.PROFILE_SORTS, Profile.value)
        return self._profile_page(call, found)

    def create_profile(self, call: Call) -> Response:
        """POST a profile: 409 names the one that is there already."""
        attributes = checks.resource(call, "profile")["attributes"]
        existing = self.account.find(attributes)
        if existing:
            more = {"meta": {"duplicate_profile_id": existing.id}}
            detail = "A profile already exists with one of these identifiers."
            raise Refused(409, "duplicate_profile", detail, at="/data/attributes", more=more)
        return self._profile_answer(call, self.account.put(attributes)[0], 201)

    def read_profile(self, call: Call) -> Response:
        """GET one profile."""
        return self._profile_answer(call, self._profile(call.path("id")), 200)

    def update_profile(self, call: Call) -> Response:
        """PATCH one profile."""
        profile = self._profile(call.path("id"))
        return self._profile_answer(
            call, self.account.put(checks.resource(call, "profile")["attributes"], profile.id)[0], 200
        )

    def upsert_profile(self, call: Call) -> Response:
        """POST profile-import: 201 for a new profile, 200 for a known one."""
        data = checks.resource(call, "profile")
        profile, new = self.account.put(data["attributes"], data.get("id"))
        return self._profile_answer(call, profile, 201 if new else 200)

    # Bulk imports -------------------------------------------------------------------------------------------

    def bulk_import(self, call: Call) -> Response:
        """POST an import: 10,000 profiles, 5 MB, 100 KB each; 202, and nothing is applied yet (profiles.json:1335)."""
        if len(call.body) > IMPORT_BYTES:
            raise Refused(413, "payload_too_large", "The payload must be at most 5MB.", at="/data")
        data = checks.resource(call, "profile-bulk-import-job")
        at = "/data/attributes/profiles/data"
        profiles = checks.resources(data["attributes"].get("profiles"), "profile", IMPORT_MAX, at)
        for place, one in enumerate(profiles):
            if not isinstance(one.get("attributes"), dict):
                raise Refused(400, "required", "'attributes' is a required field", at=f"{at}/{place}/attributes")
            if len(json.dumps(one)) > PROFILE_BYTES:
                raise Refused(400, "invalid", "A profile must be at most 100KB.", at=f"{at}/{place}")
        lists = checks.linked(data, "lists")
        for list_id in lists:
            self._list(list_id)
        polls, failing = self.polls_to_complete, call.failing_rows()
        job = ImportJob(self.account.next_id("job-", 8), self.account.now(), profiles, lists, polls, failing)
        self.account.jobs[job.id] = job
        return self.json({"data": job.resource(checks.base(call))}, 202)

    def read_job(self, call: Call) -> Response:
        """GET a job; asking makes its time pass."""
        job = self._job(call.path("id"))
        self.account.poll(job)
        return self.json({"data": job.resource(checks.base(call))})

    def job_errors(self, call: Call) -> Response:
        """GET the rows that an import could not take."""
        errors, links = query.page_of(call, self._job(call.path("id")).errors, default=20, most=100)
        return self.json({"data": errors, "links": links})

    def job_profiles(self, call: Call) -> Response:
        """GET the profiles that an import made or changed."""
        return self._profile_page(call, [self.account.profiles[one] for one in self._job(call.path("id")).profiles])

    # Lists --------------------------------------------------------------------------------------------------

    def list_lists(self, call: Call) -> Response:
        """GET lists: 10 a page at most (lists.json)."""
        found = list(self.account.lists.values())
        found = query.chosen(found, call.query("filter"), query.LIST_FILTERS, AudienceList.value)
        found = query.ordered(found, call.query("sort"), frozenset(query.LIST_FILTERS), AudienceList.value)
        shown, links = query.page_of(call, found, default=10, most=10)
        return self.json({"data": [one.resource(checks.base(call)) for one in shown], "links": links})

    def create_list(self, call: Call) -> Response:
        """POST a list."""
        name = checks.resource(call, "list")["attributes"].get("name")
        if not isinstance(name, str) or not name:
            raise Refused(400, "required", "'name' is a required field", at="/data/attributes/name")
        return self.json({"data": self.account.make_list(name).resource(checks.base(call))}, 201)

    def read_list(self, call: Call) -> Response:
        """GET one list; `additional-fields[list]=profile_count` counts its members."""
        count = call.query("additional-fields[list]") == "profile_count"
        return self.json({"data": self._list(call.path("id")).resource(checks.base(call), count=count)})

    def list_members(self, call: Call) -> Response:
        """GET the profiles of a list, with the time they joined."""
        listed, found = self._members(call)
        return self._profile_page(call, found, listed)

    def list_member_ids(self, call: Call) -> Response:
        """GET only the ids of a list's members."""
        shown, links = query.page_of(call, self._members(call)[1], default=20, most=100)
        return self.json({"data": [{"type": "profile", "id": one.id} for one in shown], "links": links})

    def add_members(self, call: Call) -> Response:
        """POST members, 1000 at most: 204. Consent stays as it is (lists.json:1226)."""
        listed, ids = self._list(call.path("id")), checks.ids_of(call, MEMBERS_MAX)
        for place, one in enumerate(ids):
            if one not in self.account.profiles:
                raise Refused(404, "not_found", f"A profile with id {one} does not exist.", at=f"/data/{place}/id")
        for one in ids:
            listed.members.setdefault(one, self.account.now())
        return Response(status_code=204)

    def remove_members(self, call: Call) -> Response:
        """DELETE members, 1000 at most: 204, also for one that was not on the list."""
        listed = self._list(call.path("id"))
        for one in checks.ids_of(call, MEMBERS_MAX):
            listed.members.pop(one, None)
        return Response(status_code=204)

    # Consent ------------------------------------------------------------------------------------------------

    def subscribe(self, call: Call) -> Response:
        """POST subscriptions: lifts suppressions; counted, so that a test can prove that it never happens."""
        self.subscribe_calls += 1
        data, profiles = self._consent_job(call, "profile-subscription-bulk-create-job", SUBSCRIBE_MAX)
        for profile in profiles:
            self.account.subscribe(profile)
            for one in checks.linked(data, "list"):
                self._list(one).members.setdefault(profile.id, self.account.now())
        return Response(status_code=202)

    def unsubscribe(self, call: Call) -> Response:
        """POST unsubscriptions, 100 at most; one not on the named list is unsubscribed from everything."""
        data, profiles = self._consent_job(call, "profile-subscription-bulk-delete-job", UNSUBSCRIBE_MAX)
        named = set(checks.linked(data, "list"))
        for profile in profiles:
            on_list = [self._list(one) for one in named if profile.id in self._list(one).members]
            for listed in on_list:
                listed.members.pop(profile.id)
            if not on_list:
                self.account.unsubscribe(profile)
        return Response(status_code=202)

    def suppress(self, call: Call) -> Response:
        """POST suppressions, 100 e-mail addresses at most (profiles.json:1687)."""
        kind = "profile-suppression-bulk-create-job"
        _, profiles = self._consent_job(call, kind, SUPPRESS_MAX)
        now = self.account.now()
        for profile in profiles:
            profile.suppressions["USER_SUPPRESSED"] = now
        counts = {"total_count": len(profiles), "completed_count": len(profiles), "skipped_count": 0}
        attributes = {"status": "complete", "created_at": now, "completed_at": now, **counts}
        job_id = self.account.next_id("job-", 8)
        links = {"self": f"{checks.base(call)}/api/{kind}s/{job_id}"}
        return self.json({"data": {"type": kind, "id": job_id, "attributes": attributes, "links": links}}, 202)

    def erase(self, call: Call) -> Response:
        """POST an erasure by one kind of identifier; the simulator erases at once."""
        attributes = checks.resource(call, "data-privacy-deletion-job")["attributes"]
        wanted = (attributes.get("profile") or {}).get("data") or {}
        given = {name: value for name, value in (wanted.get("attributes") or {}).items() if value}
        if len(given) + bool(wanted.get("id")) != 1:
            at = "/data/attributes/profile/data"
            raise Refused(400, "invalid", "Exactly one identifier must be given.", at=at)
        profile = self.account.find(given, wanted.get("id"))
        if profile:
            self.account.forget(profile)
        return Response(status_code=202)

    def _consent_job(self, call: Call, kind: str, most: int) -> tuple[Json, list[Profile]]:
        data = checks.resource(call, kind)
        at = "/data/attributes/profiles/data"
        given = checks.resources(data["attributes"].get("profiles"), "profile", most, at)
        keys = [{key: (one.get("attributes") or {}).get(key) for key in ("email", "phone_number")} for one in given]
        cleaned = [{key: value for key, value in one.items() if value} for one in keys]
        for one in cleaned:
            check_attributes(one)
        return data, [self.account.find(one) or self.account.put(one)[0] for one in cleaned]

    # Looking up and showing ---------------------------------------------------------------------------------

    def _profile_page(self, call: Call, found: Sequence[Profile], listed: AudienceList | None = None) -> Response:
        shown, links = query.page_of(call, found, default=20, most=100)
        subscriptions = "subscriptions" in call.query("additional-fields[profile]").split(",")
        joined = listed.members if listed else {}
        resources = [
            one.resource(checks.base(call), subscriptions=subscriptions, joined=joined.get(one.id)) for one in shown
        ]
        return self.json({"data": resources, "links": links})

    def _profile_answer(self, call: Call, profile: Profile, status: int) -> Response:
        subscriptions = "subscriptions" in call.query("additional-fields[profile]").split(",")
        return self.json({"data": profile.resource(checks.base(call), subscriptions=subscriptions)}, status)

    def _members(self, call: Call) -> tuple[AudienceList, list[Profile]]:
        listed = self._list(call.path("id"))
        found = [self.account.profiles[one] for one in listed.members]
        value: Callable[[Profile, str], Any] = lambda one, name: (  # noqa: E731 - two lines, used once
            listed.members[one.id] if name == "joined_group_at" else one.value(name)
        )
        return listed, query.chosen(found, call.query("filter"), query.MEMBER_FILTERS, value)

    def _profile(self, profile_id: str) -> Profile:
        return checks.found(self.account.profiles.get(profile_id), "profile", profile_id)

    def _list(self, list_id: str) -> AudienceList:
        return checks.found(self.account.lists.get(list_id), "list", list_id)

    def _job(self, job_id: str) -> ImportJob:
        return checks.found(self.account.jobs.get(job_id), "profile-bulk-import-job", job_id)

    # Logging in, limits, errors -----------------------------------------------------------------------------

    def authenticate(self, call: Call) -> None:
        """Ask for the key, the revision and JSON:API in both directions."""
        scheme, _, key = call.header("authorization").partition(" ")
        if scheme != "Klaviyo-API-Key" or not key:
            detail = "Missing or invalid authorization scheme. Please use Klaviyo-API-Key."
            raise Refused(401, "not_authenticated", detail, at="/data/")
        if key != self.token:
            raise Refused(401, "authentication_failed", "Incorrect authentication credentials.", at="/data/")
        if not _REVISION.fullmatch(call.header("revision")):
            raise Refused(400, "invalid", "A revision header of the form YYYY-MM-DD is required.", at="/data/")
        if call.body and call.header("content-type").partition(";")[0] != self.media_type:
            raise Refused(415, "unsupported_media_type", f"The body must be {self.media_type}.", at="/data/")
        accepted = call.header("accept")
        if not any(kind in accepted for kind in (self.media_type, "*/*", "application/*")):
            raise Refused(406, "not_acceptable", f"Only {self.media_type} is produced.", at="/data/")

    def problem(self, refused: Refused) -> Response:
        """Write JSON:API `errors[]` {id, status, code, title, detail, source}."""
        source = {"parameter" if refused.at and not refused.at.startswith("/") else "pointer": refused.at or "/data/"}
        error = {
            "id": self.correlation_id(),
            "status": refused.status,
            "code": refused.code,
            "title": checks.TITLES.get(refused.code, "Invalid input."),
            "detail": refused.detail,
            "source": source,
            **refused.more,
        }
        return self.json({"errors": [error]}, refused.status)

    def fault_refusal(self, fault: Fault) -> Refused | None:
        """Return the refusal that a planned fault asks for."""
        match fault.kind:
            case "rate_limited":
                return _throttled("Request was throttled.", fault.retry_after_header())
            case "daily_limit":
                # The daily window of an operation: the next day is far beyond what a client waits for.
                return _throttled("Request was throttled. Expected available in 43200 seconds.", _after(43_200))
            case "server_error":
                return Refused(fault.status, "error", "A server error occurred.", at="/data/")
            case "expired_token":
                return Refused(401, "authentication_failed", "Incorrect authentication credentials.", at="/data/")
            case "refused_batch":
                return Refused(400, "invalid", "The payload provided in the request is invalid.", at="/data/")
            case _:
                return None

    def limit_headers(self, windows: list[Window]) -> dict[str, str]:
        """Return the state of the steady window, as the vendor documents."""
        steady = next(window for window in windows if window.limit.name == "steady")
        return {
            "RateLimit-Limit": str(steady.limit.requests),
            "RateLimit-Remaining": str(max(0, steady.remaining)),
            "RateLimit-Reset": str(whole_seconds(steady)),
        }

    def limit_refusal(self, window: Window) -> Refused:
        """Refuse with Retry-After in whole seconds, which replaces the RateLimit headers."""
        seconds = whole_seconds(window)
        return _throttled(f"Request was throttled. Expected available in {seconds} seconds.", _after(seconds))


def _after(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


def _throttled(detail: str, headers: dict[str, str]) -> Refused:
    refused = Refused(429, "throttled", detail, at="/data/")
    refused.headers = headers
    return refused
