"""Klaviyo as a destination, against the sandbox and, where it is at hand, the vendor's own description."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from consentry.connectors.base import Destination, LooksUp, Ok, Pending, Polls, Rejected, Removes, Unknown
from consentry.connectors.klaviyo import Klaviyo, KlaviyoConfig
from consentry.errors import DestinationFailed, RetryLater
from consentry.model.batch import Batch, Operation, Row
from consentry.testing.sandbox import Sandbox
from tests.connectors.recorder import listening, through

_accounts = count()


def _klaviyo(url: str, token: str = "sandbox-klaviyo", **more: Any) -> Klaviyo:
    config = KlaviyoConfig.model_validate({"base_url": url, "token": token, "patience_seconds": 60})
    return Klaviyo(config, account=f"shop-{next(_accounts)}", sleep=lambda seconds: None, **more)


@pytest.fixture
def list_id(sandbox: Sandbox) -> str:
    with sandbox.klaviyo.lock:
        return sandbox.klaviyo.account.make_list("Newsletter").id


@pytest.fixture
def klaviyo(sandbox: Sandbox) -> Klaviyo:
    return _klaviyo(sandbox.url("klaviyo"))


def _batch(audience: str, *rows: Row, operation: Operation = "add") -> Batch:
    return Batch("b", "klaviyo", audience, "news", operation, rows)


def _row(number: int, remote_id: str | None = None, **fields: Any) -> Row:
    return Row(f"p{number}", {"email": f"person{number}@example.com"}, fields, remote_id)


def _emails(sandbox: Sandbox) -> set[str]:
    return sandbox.klaviyo.member_values("Newsletter")


def test_people_are_imported_onto_the_list_in_few_calls(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    outcomes = through(klaviyo, _batch(list_id, *(_row(n, given_name=f"N{n}", tier="a") for n in range(1000))))
    assert all(isinstance(outcome, Ok) and outcome.remote_id for outcome in outcomes)
    assert len(_emails(sandbox)) == 1000
    assert klaviyo.api_calls <= 1 + 2 + 10
    profile = next(iter(sandbox.klaviyo.account.profiles.values()))
    assert profile.attributes["first_name"] == "N0"
    assert profile.attributes["properties"] == {"tier": "a"}


def test_each_outcome_belongs_to_its_row(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    outcomes = through(klaviyo, _batch(list_id, *(_row(n) for n in range(5))))
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, Ok) and outcome.remote_id
        assert sandbox.klaviyo.account.profiles[outcome.remote_id].value("email") == f"person{number}@example.com"


def test_the_ids_of_a_job_that_took_all_come_from_the_faster_look_up_and_others_from_the_job(
    sandbox: Sandbox, klaviyo: Klaviyo, list_id: str
) -> None:
    def asked() -> set[str]:
        paths = {seen.path.removeprefix("/klaviyo") for seen in sandbox.requests if seen.method == "GET"}
        return {path for path in paths if path.endswith("/profiles")}

    through(klaviyo, _batch(list_id, *(_row(n) for n in range(3))))
    assert asked() == {"/api/profiles"}
    # Klaviyo knows this one by an address first, which the row does not have.
    with sandbox.klaviyo.lock:
        profile, _ = sandbox.klaviyo.account.put({"email": "old@example.com", "external_id": "n4"})
    assert through(klaviyo, _batch(list_id, Row("p4", {"external_id": "n4"}, {}))) == [Ok(profile.id)]
    assert len(asked()) == 2


def test_trap_3_a_row_refused_in_a_job_is_rejected_with_its_code_and_the_others_are_taken(
    sandbox: Sandbox, klaviyo: Klaviyo, list_id: str
) -> None:
    bad = Row("bad", {"email": "no address"}, {})
    outcomes = through(klaviyo, _batch(list_id, _row(1), bad, _row(2)))
    assert outcomes[1] == Rejected("invalid", "email")
    assert _emails(sandbox) == {"person1@example.com", "person2@example.com"}


def test_a_row_without_an_identifier_and_a_second_of_one_person_are_rejected(klaviyo: Klaviyo, list_id: str) -> None:
    twin = Row("twin", {"email": "PERSON1@example.com"}, {})
    outcomes = through(klaviyo, _batch(list_id, _row(1), twin, Row("none", {}, {})))
    assert isinstance(outcomes[0], Ok)
    assert outcomes[1:] == [Rejected("identifier_duplicate", "email"), Rejected("identifier_missing")]


def test_a_change_by_id_needs_no_look_up(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    (first,) = through(klaviyo, _batch(list_id, _row(1)))
    assert isinstance(first, Ok)
    before = klaviyo.api_calls
    assert through(klaviyo, _batch(list_id, _row(1, first.remote_id, tier="b"), operation="change")) == [first]
    assert klaviyo.api_calls - before == 3


def test_removals_take_people_off_the_list_by_id_or_by_e_mail(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    outcomes = through(klaviyo, _batch(list_id, *(_row(n) for n in range(4))))
    ids = [outcome.remote_id for outcome in outcomes if isinstance(outcome, Ok)]
    rows = (_row(0, ids[0]), _row(1), _row(9))
    assert through(klaviyo, _batch(list_id, *rows, operation="remove")) == [Ok(ids[0]), Ok(ids[1]), Ok(None)]
    assert _emails(sandbox) == {"person2@example.com", "person3@example.com"}
    assert klaviyo.lookup(list_id, [str(id) for id in ids]) == {ids[2], ids[3]}


def test_a_job_that_has_not_ended_is_pending(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    sandbox.klaviyo.polls_to_complete = 10_000
    sent = _batch(list_id, _row(1))
    (pending,) = klaviyo.write(sent)
    assert isinstance(pending, Pending) and klaviyo.poll(pending.job, sent) is None


def test_a_lost_answer_is_sent_again_and_nobody_is_there_twice(
    sandbox: Sandbox, klaviyo: Klaviyo, list_id: str
) -> None:
    sandbox.fault("lost_answer", match="profile-bulk-import-jobs", method="POST", seconds=0.01)
    assert isinstance(through(klaviyo, _batch(list_id, _row(1)))[0], Ok)
    assert len(sandbox.klaviyo.account.profiles) == 1


def test_an_answer_that_never_comes_leaves_the_rows_unknown(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    sandbox.fault("lost_answer", match="profile-bulk-import-jobs", method="POST", seconds=0.01, times=50)
    outcomes = klaviyo.write(_batch(list_id, _row(1)))
    assert next(outcomes) == Unknown()
    with pytest.raises(DestinationFailed, match="not known"):
        next(outcomes)


def test_trap_2_consent_is_never_touched(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    with sandbox.klaviyo.lock:
        profile, _ = sandbox.klaviyo.account.put({"email": "person1@example.com"})
        profile.suppressions["USER_SUPPRESSED"] = "2026-01-01T00:00:00Z"
    outcomes = through(klaviyo, _batch(list_id, _row(1), _row(2)))
    through(klaviyo, _batch(list_id, _row(2, operation_id(outcomes[1])), operation="remove"))
    assert sandbox.klaviyo.subscribe_calls == 0
    assert profile.suppressions == {"USER_SUPPRESSED": "2026-01-01T00:00:00Z"}
    assert not any("subscription" in seen.path or "suppression" in seen.path for seen in sandbox.requests)


def operation_id(outcome: object) -> str | None:
    return outcome.remote_id if isinstance(outcome, Ok) else None


def test_wrong_credentials_and_unknown_lists_are_sentences(sandbox: Sandbox, klaviyo: Klaviyo) -> None:
    stranger = _klaviyo(sandbox.url("klaviyo"), "canary-token")
    assert "401" in stranger.check().sentence and not stranger.check().ok
    assert klaviyo.check().ok
    with pytest.raises(DestinationFailed, match="refuses the credentials") as caught:
        list(stranger.write(_batch("X", _row(1))))
    assert "canary" not in repr(caught.value) + repr(stranger.http)
    for work in (klaviyo.write, klaviyo.remove):
        with pytest.raises(DestinationFailed, match="404"):
            list(work(_batch("NOLIST", _row(1, "01SANDBOXUNKNOWN"))))


def test_a_used_up_day_pauses(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    sandbox.fault("daily_limit", times=50)
    with pytest.raises(RetryLater):
        through(klaviyo, _batch(list_id, _row(1)))


def test_large_batches_are_split_by_size(sandbox: Sandbox, klaviyo: Klaviyo, list_id: str) -> None:
    rows = [_row(n, blob="x" * 60_000) for n in range(100)]
    outcomes = through(klaviyo, _batch(list_id, *rows, _row(999, blob="x" * 100_001)))
    assert all(isinstance(outcome, Ok) for outcome in outcomes[:-1])
    assert outcomes[-1] == Rejected("profile_too_large")


def test_it_adds_removes_and_looks_up(klaviyo: Klaviyo) -> None:
    assert isinstance(klaviyo, Destination) and isinstance(klaviyo, Removes) and isinstance(klaviyo, LooksUp)
    assert isinstance(klaviyo, Polls)


_ROOT = Path(__file__).resolve().parents[2]
_SPECS = Path(os.environ.get("CONSENTRY_SPECS", _ROOT.parent / "shared" / "specs")) / "klaviyo"


class _Recorder(httpx.BaseTransport):
    """Passes requests on and keeps them."""

    def __init__(self) -> None:
        self.inner, self.seen = httpx.HTTPTransport(), list[httpx.Request]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.inner.handle_request(request)

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def spec() -> dict[str, Any]:
    if not _SPECS.is_dir():
        pytest.skip(f"The vendor's description is not at {_SPECS}; set CONSENTRY_SPECS to its parent folder.")
    found: dict[str, Any] = {"paths": {}, "schemas": {}}
    for name in ("profiles.json", "lists.json"):
        document = json.loads((_SPECS / name).read_text())
        found["paths"] |= document["paths"]
        found["schemas"] |= document["components"]["schemas"]
    return found


def test_every_request_fits_the_vendors_description(sandbox: Sandbox, list_id: str, spec: dict[str, Any]) -> None:
    recorder = _Recorder()
    klaviyo = _klaviyo(sandbox.url("klaviyo"), transport=recorder)
    outcomes = list(
        klaviyo.write(_batch(list_id, _row(1, given_name="A", city="Ulm", tier=1), Row("b", {"email": "?"}, {})))
    )
    klaviyo.check()
    through(klaviyo, _batch(list_id, _row(1, operation_id(outcomes[0])), _row(2)))
    klaviyo.lookup(list_id, ["x"])
    list(klaviyo.opt_outs(None, [list_id]))
    list(klaviyo.opt_outs(datetime(2026, 11, 1, tzinfo=UTC), [list_id]))
    assert len(recorder.seen) >= 11
    for request in recorder.seen:
        problems = list(_problems(request, spec))
        assert problems == [], f"{request.method} {request.url.path}"
    recorder.close()


def _problems(request: httpx.Request, spec: dict[str, Any]) -> Iterator[str]:
    path = request.url.path.removeprefix("/klaviyo")
    operation = next((item[method] for item, method in _operations(path, request.method, spec)), None)
    if operation is None:
        yield "no such operation"
        return
    declared = {parameter["name"]: parameter for parameter in operation.get("parameters", [])}
    for name, value in request.url.params.items():
        if name not in declared:
            yield f"unknown parameter {name}"
        elif "maximum" in declared[name]["schema"] and int(value) > declared[name]["schema"]["maximum"]:
            yield f"{name} is too large"
        elif words := (declared[name]["schema"].get("items") or declared[name]["schema"]).get("enum"):
            yield from (f"{name} does not know {word}" for word in value.split(",") if word not in words)
    for name, parameter in declared.items():
        if parameter["in"] == "header" and parameter.get("required") and name not in request.headers:
            yield f"no header {name}"
    body = operation.get("requestBody")
    if body:
        ((media, content),) = body["content"].items()
        if request.headers["content-type"] != media:
            yield "wrong media type"
        yield from _unfit(json.loads(request.content), content["schema"], spec["schemas"], "")


def _operations(path: str, method: str, spec: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    steps = path.split("/")
    for template, item in spec["paths"].items():
        wanted = template.split("/")
        same = len(wanted) == len(steps) and all(
            want.startswith("{") or want == step for want, step in zip(wanted, steps, strict=True)
        )
        if same and method.lower() in item:
            yield item, method.lower()


def _unfit(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str) -> Iterator[str]:
    """Compare a body with the part of JSON Schema that the description uses; a key it does not name is a fault."""
    if "$ref" in schema:
        schema = {**schemas[schema["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in schema.items() if k != "$ref"}}
    if value is None and schema.get("nullable"):
        return
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):  # type: ignore[arg-type]
        yield f"{at} is no {schema['type']}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at} is none of the allowed words"
    elif isinstance(value, dict) and schema.get("properties"):
        yield from (f"{at}/{name} is missing" for name in schema.get("required", []) if name not in value)
        yield from (f"{at}/{name} is unknown" for name in value if name not in schema["properties"])
        for name in value.keys() & schema["properties"].keys():
            yield from _unfit(value[name], schema["properties"][name], schemas, f"{at}/{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unfit(item, schema.get("items", {}), schemas, f"{at}/{number}")


@pytest.mark.filterwarnings("ignore")
def test_the_requests_are_those_of_the_vendors_own_client(sandbox: Sandbox, list_id: str) -> None:
    """klaviyo-api 25, which sends a later revision."""
    package = pytest.importorskip("klaviyo_api", reason="Install the dependency group `reference`.")
    recorder = _Recorder()
    klaviyo = _klaviyo(sandbox.url("klaviyo"), transport=recorder)
    (outcome,) = through(klaviyo, _batch(list_id, _row(1, given_name="Ada", tier="a")))
    id = str(operation_id(outcome))
    through(klaviyo, _batch(list_id, _row(1, id), operation="remove"))
    profile = {
        "type": "profile",
        "attributes": {"email": "person1@example.com", "first_name": "Ada", "properties": {"tier": "a"}},
    }
    job = {
        "type": "profile-bulk-import-job",
        "attributes": {"profiles": {"data": [profile]}},
        "relationships": {"lists": {"data": [{"type": "list", "id": list_id}]}},
    }
    with listening({"data": {"type": "profile-bulk-import-job", "id": "1"}}) as heard:
        client: Any = package.KlaviyoAPI("sandbox-klaviyo", max_retries=0, test_host=heard.url)
        client.Profiles.bulk_import_profiles({"data": job})
        client.Lists.remove_profiles_from_list(list_id, {"data": [{"type": "profile", "id": id}]})
        theirs = [(method, path, body) for method, path, _, body in heard.requests]
        for _, _, headers, _ in heard.requests:
            assert headers["authorization"] == "Klaviyo-API-Key sandbox-klaviyo" and headers["revision"]
    ours = [
        (one.method, one.url.path.removeprefix("/klaviyo"), json.loads(one.content))
        for one in recorder.seen
        if one.content
    ]
    assert ours == theirs
    recorder.close()
