"""Klaviyo's account in memory: profiles, lists, import jobs, consents and suppressions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consentry.testing.sandbox.vendor import Json, Refused, instant

IDENTIFIERS = ("email", "phone_number", "external_id")
_NAMED = ("first_name", "last_name", "organization", "locale", "title", "image")
ATTRIBUTES = frozenset({*IDENTIFIERS, *_NAMED, "_kx", "location", "properties"})
# What happens to a consent or a suppression carries this word of the vendor (profiles.json, subscriptions).
LIFTED_BY_SUBSCRIBING = frozenset({"UNSUBSCRIBE", "SPAM_REPORT", "USER_SUPPRESSED"})
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_E164 = re.compile(r"\+[1-9]\d{6,14}")


@dataclass(slots=True)
class Profile:
    """One person as Klaviyo holds it."""

    id: str
    attributes: dict[str, Any]
    created: str
    updated: str
    consent: str = "NEVER_SUBSCRIBED"
    suppressions: dict[str, str] = field(default_factory=dict)  # reason -> when
    list_suppressions: dict[str, tuple[str, str]] = field(default_factory=dict)  # list -> reason, when

    def value(self, name: str) -> Any:
        """Return an attribute by its name, as filters and sorts name it."""
        own: dict[str, Any] = {"id": self.id, "created": self.created, "updated": self.updated}
        if self.suppressions:
            own["subscriptions.email.marketing.suppression.timestamp"] = max(self.suppressions.values())
        for listed, (_, when) in self.list_suppressions.items():
            own["subscriptions.email.marketing.list_suppressions.list_id"] = listed
            own["subscriptions.email.marketing.list_suppressions.timestamp"] = when
        return own.get(name, self.attributes.get(name))

    def resource(self, base: str, *, subscriptions: bool = False, joined: str | None = None) -> Json:
        """Return the profile as a JSON:API resource."""
        blank = dict.fromkeys((*IDENTIFIERS, *_NAMED), None)
        times = {"created": self.created, "updated": self.updated, "last_event_date": None}
        attributes: dict[str, Any] = blank | {"location": {}, "properties": {}} | self.attributes | times
        if joined is not None:
            attributes["joined_group_at"] = joined
        if subscriptions:
            attributes["subscriptions"] = {"email": {"marketing": self._marketing()}}
        own = f"{base}/api/profiles/{self.id}"
        links = {"self": f"{own}/relationships/lists", "related": f"{own}/lists"}
        return {
            "type": "profile",
            "id": self.id,
            "attributes": attributes,
            "relationships": {"lists": {"links": links}},
            "links": {"self": own},
        }

    def _marketing(self) -> Json:
        suppressed = [{"reason": reason, "timestamp": when} for reason, when in self.suppressions.items()]
        allowed = self.consent != "UNSUBSCRIBED" and not suppressed
        return {
            "can_receive_email_marketing": allowed,
            "consent": self.consent,
            "suppression": suppressed,
            "list_suppressions": [
                {"list_id": listed, "reason": reason, "timestamp": when}
                for listed, (reason, when) in self.list_suppressions.items()
            ],
        }


@dataclass(slots=True)
class AudienceList:
    """One list; being on it says nothing about consent."""

    id: str
    name: str
    created: str
    members: dict[str, str] = field(default_factory=dict)  # profile id -> when it joined

    def value(self, name: str) -> Any:
        """Return an attribute by its name, as filters and sorts name it."""
        return {"id": self.id, "name": self.name, "created": self.created, "updated": self.created}.get(name)

    def resource(self, base: str, *, count: bool = False) -> Json:
        """Return the list as a JSON:API resource."""
        own = f"{base}/api/lists/{self.id}"
        times = {"created": self.created, "updated": self.created}
        attributes: dict[str, Any] = {"name": self.name, **times, "opt_in_process": "single_opt_in"}
        if count:
            attributes["profile_count"] = len(self.members)
        return {
            "type": "list",
            "id": self.id,
            "attributes": attributes,
            "relationships": {
                "profiles": {"links": {"self": f"{own}/relationships/profiles", "related": f"{own}/profiles"}}
            },
            "links": {"self": own},
        }


@dataclass(slots=True)
class ImportJob:
    """A bulk import: accepted at once, applied later."""

    id: str
    created: str
    waiting: list[Json]
    lists: list[str]
    polls_left: int
    failing: frozenset[int] = frozenset()
    status: str = "queued"
    profiles: list[str] = field(default_factory=list)
    errors: list[Json] = field(default_factory=list)
    completed: str | None = None

    def resource(self, base: str) -> Json:
        """Return the job as a JSON:API resource."""
        own = f"{base}/api/profile-bulk-import-jobs/{self.id}"
        started = None if self.status == "queued" else self.created
        attributes = {
            "status": self.status,
            "created_at": self.created,
            "started_at": started,
            "completed_at": self.completed,
            "expires_at": None,
            "total_count": len(self.waiting),
            "completed_count": len(self.profiles),
            "failed_count": len(self.errors),
        }
        lists = [{"type": "list", "id": one} for one in self.lists]
        return {
            "type": "profile-bulk-import-job",
            "id": self.id,
            "attributes": attributes,
            "relationships": {
                "lists": {"data": lists, "links": _links(own, "lists")},
                "profiles": {"links": _links(own, "profiles")},
                "import-errors": {"links": {"related": f"{own}/import-errors"}},
            },
            "links": {"self": own},
        }


def _links(own: str, name: str) -> Json:
    return {"self": f"{own}/relationships/{name}", "related": f"{own}/{name}"}


class Account:
    """Everything one Klaviyo account holds."""

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}
        self.lists: dict[str, AudienceList] = {}
        self.jobs: dict[str, ImportJob] = {}
        self._index: dict[tuple[str, str], str] = {}
        self._serial = 0

    def now(self) -> str:
        """Return the time of the next change, the same in every run."""
        self._serial += 1
        return instant(self._serial)

    def next_id(self, prefix: str, width: int) -> str:
        """Return the next id of a kind, the same in every run."""
        self._serial += 1
        return f"{prefix}{self._serial:0{width}d}"

    def make_list(self, name: str, list_id: str | None = None) -> AudienceList:
        """Add a list, under the next id when none is given."""
        made = AudienceList(list_id or self.next_id("L", 5), name, self.now())
        self.lists[made.id] = made
        return made

    def find(self, attributes: Mapping[str, Any], profile_id: str | None = None) -> Profile | None:
        """Return the profile with this id, or with one of these identifiers."""
        if profile_id is not None:
            return self.profiles.get(profile_id)
        keys = [(name, str(attributes[name]).lower()) for name in IDENTIFIERS if attributes.get(name)]
        return next((self.profiles[self._index[key]] for key in keys if key in self._index), None)

    def found(self, name: str, values: Iterable[str]) -> list[Profile]:
        """Return the profiles that are known by these values of one identifier, each once."""
        ids = (self._index.get((name, value.lower())) for value in values)
        return [self.profiles[id] for id in dict.fromkeys(ids) if id]

    def put(self, attributes: Mapping[str, Any], profile_id: str | None = None) -> tuple[Profile, bool]:
        """Add a profile or change it; returns it and whether it is new. Null clears a field, absence leaves it."""
        check_attributes(attributes)
        profile = self.find(attributes, profile_id)
        new = profile is None
        if profile is None:
            profile = Profile(self.next_id("01SANDBOX", 17), {}, self.now(), "")
            self.profiles[profile.id] = profile
        properties = {**profile.attributes.get("properties", {}), **(attributes.get("properties") or {})}
        profile.attributes.update(attributes)
        profile.attributes["properties"] = properties
        profile.updated = self.now()
        for name in IDENTIFIERS:
            if profile.attributes.get(name):
                self._index[name, str(profile.attributes[name]).lower()] = profile.id
        return profile, new

    def forget(self, profile: Profile) -> None:
        """Erase a profile from everywhere."""
        del self.profiles[profile.id]
        self._index = {key: one for key, one in self._index.items() if one != profile.id}
        for each in self.lists.values():
            each.members.pop(profile.id, None)

    def poll(self, job: ImportJob) -> None:
        """Let time pass for a job: it is applied when it has been asked after often enough."""
        if job.status == "complete":
            return
        job.polls_left -= 1
        job.status = "processing"
        if job.polls_left <= 0:
            self.finish(job)

    def finish(self, job: ImportJob) -> None:
        """Apply a job: the rows that are in order are imported, the others become its errors."""
        for place, one in enumerate(job.waiting):
            try:
                if place in job.failing:
                    raise Refused(400, "invalid", "The sandbox refuses this row, as a planned fault asked for.")
                profile, _ = self.put(one["attributes"], one.get("id"))
            except Refused as refused:
                job.errors.append(self._import_error(place, one, refused))
                continue
            job.profiles.append(profile.id)
            for list_id in job.lists:
                self.lists[list_id].members.setdefault(profile.id, self.now())
        job.status, job.completed = "complete", self.now()

    def _import_error(self, place: int, one: Json, refused: Refused) -> Json:
        pointer = f"/data/attributes/profiles/data/{place}{refused.at}"
        attributes = {
            "code": refused.code,
            "title": "Invalid input",
            "detail": refused.detail,
            "source": {"pointer": pointer},
            "original_payload": one["attributes"],
        }
        return {"type": "import-error", "id": self.next_id("error-", 8), "attributes": attributes}

    def subscribe(self, profile: Profile) -> None:
        """Subscribe a profile: its own unsubscribing and spam reports are lifted (profiles.json:2932)."""
        profile.consent, profile.updated = "SUBSCRIBED", self.now()
        kept = {reason: at for reason, at in profile.suppressions.items() if reason not in LIFTED_BY_SUBSCRIBING}
        profile.suppressions = kept

    def unsubscribe(self, profile: Profile) -> None:
        """Unsubscribe a profile from everything."""
        profile.consent, profile.updated = "UNSUBSCRIBED", self.now()
        profile.suppressions["UNSUBSCRIBE"] = profile.updated


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise Refused unless these can be the attributes of a profile."""
    unknown = sorted(set(attributes) - ATTRIBUTES)
    if unknown:
        detail = f"'{unknown[0]}' is not a valid field for the resource 'profile'."
        raise Refused(400, "invalid", detail, at=f"/attributes/{unknown[0]}")
    email, phone = attributes.get("email"), attributes.get("phone_number")
    if email is not None and not (isinstance(email, str) and _EMAIL.fullmatch(email)):
        raise Refused(400, "invalid", "Invalid email address", at="/attributes/email")
    if phone is not None and not (isinstance(phone, str) and _E164.fullmatch(phone)):
        detail = "Invalid phone number format (Example of a valid format: +12345678901)"
        raise Refused(400, "invalid", detail, at="/attributes/phone_number")
