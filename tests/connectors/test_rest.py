"""The declared API: every way to log in and to page, what changed, what errors mean."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from consentry.connectors.base import State
from consentry.connectors.rest import Rest
from consentry.connectors.rest_config import RestConfig, RestStream
from consentry.errors import RetryLater, SourceFailed

Row = dict[str, Any]
BASE = "https://api.example.com/v1"
_accounts = count()


class Api:
    """An API of people that pages in every known way."""

    def __init__(self, people: list[Row]) -> None:
        self.people, self.seen = people, list[httpx.Request]()
        self.before: Callable[[int], None] = lambda number: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        self.before(len(self.seen))
        query = dict(request.url.params)
        found = [one for one in self.people if str(one["changed"]) >= query.get("since", "")]
        size = int(query.get("limit", 2))
        if "page" in query:
            begin = (int(query["page"]) - 1) * size
        else:
            begin = int(query.get("after") or query.get("offset") or 0)
        end = begin + size
        more = end < len(found)
        following = f"{BASE}/people?after={end}&limit={size}" if more else None
        body = {"data": {"items": found[begin:end], "next": following, "cursor": str(end) if more else None}}
        body["data"]["total"] = len(found)
        links = {"Link": f'<{BASE}/people?after=0>; rel="first", <{following}>; rel="next"'} if more else {}
        return httpx.Response(200, json=body, headers=links)


def _people(number: int) -> list[Row]:
    return [{"id": n, "email": f"p{n}@example.com", "changed": f"2026-01-{1 + n // 3:02d}"} for n in range(number)]


def _source(api: Callable[[httpx.Request], httpx.Response], connection: Row | None = None, **options: Any) -> Rest:
    stream = {"path": "/people", "records": "data.items", "key": ["id"], **options}
    return Rest(
        RestConfig.model_validate({"base_url": BASE, "name": "People", **(connection or {})}),
        streams={"people": RestStream.model_validate(stream)},
        account=f"rest-{next(_accounts)}",
        transport=httpx.MockTransport(api),
        sleep=lambda seconds: None,
    )


def _read(source: Rest, state: State | None = None, stop_after: int | None = None) -> tuple[list[Row], State]:
    rows: list[Row] = []
    state = state or {}
    for number, page in enumerate(source.read(source.discover()[0], state), 1):
        rows += page.records.to_pylist()
        state = page.state
        if number == stop_after:
            break
    return rows, state


PAGINGS = {
    "number": {"kind": "number", "size": 2, "size_param": "limit"},
    "number side by side": {"kind": "number", "size": 2, "size_param": "limit", "total": "data.total"},
    "offset": {"kind": "offset", "size": 2},
    "offset side by side": {"kind": "offset", "size": 2, "total": "data.total"},
    "cursor": {"kind": "cursor", "param": "after", "at": "data.cursor"},
    "link": {"kind": "link"},
    "next": {"kind": "next", "at": "data.next"},
}


@pytest.mark.parametrize("paging", PAGINGS.values(), ids=PAGINGS)
@settings(max_examples=20, deadline=None)
@given(number=st.integers(0, 9), stop=st.integers(1, 5))
def test_every_record_comes_once_however_the_api_pages_and_wherever_a_read_stops(
    paging: Row, number: int, stop: int
) -> None:
    source = _source(Api(_people(number)), paging=paging)
    rows, state = _read(source, stop_after=stop)
    if state:
        rows += _read(source, state)[0]
    assert [row["id"] for row in rows] == [str(n) for n in range(number)]


@pytest.mark.parametrize("paging", PAGINGS.values(), ids=PAGINGS)
def test_an_empty_stream_opens_no_second_request(paging: Row) -> None:
    api = Api([])
    assert _read(_source(api, paging=paging))[0] == []
    assert len(api.seen) == 1


def test_pages_that_can_come_side_by_side_do() -> None:
    api = Api(_people(9))
    rows, _ = _read(_source(api, {"at_once": 3}, paging=PAGINGS["number side by side"]))
    assert len(rows) == 9 and len(api.seen) == 5


def test_records_that_move_while_an_offset_is_paged_are_not_lost() -> None:
    api = Api(_people(7))

    def remove(number: int) -> None:
        if number == 2:
            del api.people[0]

    api.before = remove
    rows, _ = _read(_source(api, paging=PAGINGS["offset"]))
    assert {row["id"] for row in rows} == {str(n) for n in range(7)}


def test_records_that_never_stop_moving_end_in_a_sentence() -> None:
    api = Api(_people(9))
    api.before = lambda number: api.people.insert(0, {"id": 100 + number, "changed": "2026-01-01"})
    with pytest.raises(SourceFailed, match="move faster"):
        _read(_source(api, paging=PAGINGS["offset"]))


def test_a_later_read_asks_for_what_changed_and_repeats_nothing() -> None:
    api = Api(_people(6))
    cursor = {"field": "changed", "param": "since"}
    source = _source(api, paging=PAGINGS["cursor"], cursor=cursor)
    _, state = _read(source)
    assert _read(source, state)[0] == []
    api.people += [{"id": 6, "changed": "2026-01-02"}, {"id": 7, "changed": "2026-01-03"}]
    rows, state = _read(source, state)
    assert [row["id"] for row in rows] == ["6", "7"]
    assert api.seen[-1].url.params["since"] == "2026-01-02"


def test_an_overlap_reaches_back_in_the_format_of_the_api() -> None:
    api = Api([{"id": 1, "changed": "2026-01-02T00:00:00Z"}])
    cursor = {"field": "changed", "param": "since", "format": "iso", "overlap": 3600}
    source = _source(api, cursor=cursor)
    _, state = _read(source)
    api.people.append({"id": 2, "changed": "2026-01-01T23:30:00Z"})
    rows, state = _read(source, state)
    assert [row["id"] for row in rows] == ["2"]
    assert api.seen[-1].url.params["since"] == "2026-01-01T23:00:00Z"


def _auth_header(api: Api, auth: Row, name: str = "authorization") -> str:
    _read(_source(api, {"auth": auth}))
    return api.seen[-1].headers[name]


def test_every_kind_of_login_sends_its_header() -> None:
    api = Api([])
    assert _auth_header(api, {"kind": "bearer", "token": "t"}) == "Bearer t"
    assert _auth_header(api, {"kind": "header", "name": "X-Key", "value": "k"}, "x-key") == "k"
    basic = _auth_header(api, {"kind": "basic", "username": "u", "password": "p"})
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"u:p"


def test_a_token_is_fetched_and_fetched_again_when_it_ran_out(tmp_path: Path) -> None:
    api, tokens = Api(_people(3)), list[str]()

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            form = parse_qs(request.content.decode())
            assert form["grant_type"] == ["client_credentials"] and form["client_id"] == ["me"]
            tokens.append(f"t{len(tokens)}")
            return httpx.Response(200, json={"access_token": tokens[-1], "expires_in": 3600})
        if request.headers["authorization"] != f"Bearer {tokens[-1]}" or len(api.seen) == 1 == len(tokens):
            return httpx.Response(401)
        return api(request)

    auth = {"kind": "oauth", "token_url": "https://login.example.com/token", "client_id": "me", "client_secret": "s"}
    rows, _ = _read(_source(serve, {"auth": auth}, paging=PAGINGS["cursor"]))
    assert len(rows) == 3 and tokens == ["t0", "t1"]


def test_trap_20_a_next_url_on_another_host_is_refused() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": {"items": [{"id": 1}], "next": "https://evil.example.net/v1/people"}})

    with pytest.raises(SourceFailed, match="another host"):
        _read(_source(serve, paging=PAGINGS["next"]))


def test_trap_20_a_repeated_cursor_raises() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": {"items": [{"id": 1}], "cursor": "same"}})

    with pytest.raises(SourceFailed, match="same page again"):
        _read(_source(serve, paging=PAGINGS["cursor"]))


def test_trap_20_an_api_that_does_not_know_the_pages_parameter_ends_the_read() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": {"items": [{"id": 1}, {"id": 2}]}})

    with pytest.raises(SourceFailed, match="same page again"):
        _read(_source(serve, paging={"kind": "number", "param": "pag", "size": 2}))


def _answering(*answers: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def test_rules_say_what_special_answers_mean() -> None:
    good = httpx.Response(200, json={"data": {"items": [{"id": 1}]}})
    rules = [
        {"status": 404, "means": "empty"},
        {"status": 403, "at": "code", "equals": "SLOW_DOWN", "means": "retry"},
        {"status": 403, "at": "code", "equals": "DAY_OVER", "means": "later", "wait": 7200},
        {"status": 200, "at": "ok", "equals": False, "means": "fail"},
        {"status": 200, "at": "quota", "equals": 0, "means": "later"},
    ]

    def read(*answers: httpx.Response) -> list[Row]:
        return _read(_source(_answering(*answers), {"errors": rules}))[0]

    assert read(httpx.Response(404)) == []
    assert len(read(httpx.Response(403, json={"code": "SLOW_DOWN"}), good)) == 1
    with pytest.raises(SourceFailed, match="does not allow"):
        read(httpx.Response(403, json={"code": "OTHER"}))
    with pytest.raises(RetryLater) as caught:
        read(httpx.Response(403, json={"code": "DAY_OVER"}))
    assert caught.value.after == 7200
    with pytest.raises(SourceFailed, match="calls a failure"):
        read(httpx.Response(200, json={"ok": False}))
    with pytest.raises(RetryLater):
        read(httpx.Response(200, json={"quota": 0}))


def test_a_search_by_post_gets_its_paging_in_the_body() -> None:
    bodies: list[Row] = []

    def serve(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        begin = bodies[-1].get("after", 0)
        return httpx.Response(
            200, json={"data": {"items": [{"id": begin}], "cursor": begin + 1 if begin < 2 else None}}
        )

    rows, _ = _read(_source(serve, method="POST", body={"filter": "all"}, paging=PAGINGS["cursor"]))
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert bodies[1] == {"filter": "all", "after": 1}


def test_values_come_as_text_and_nested_ones_as_json_or_columns() -> None:
    record = {"id": 1, "vip": True, "at": {"city": "Rome", "geo": {"lat": 1.5}}, "tags": ["a"], "gone_at": "2026-01-01"}
    answer = httpx.Response(200, json=[record])
    rows, _ = _read(_source(_answering(answer), records=""))
    assert rows[0]["at"] == '{"city":"Rome","geo":{"lat":1.5}}' and rows[0]["vip"] == "true"
    rows, _ = _read(_source(_answering(answer), records="", flatten=True, deleted="gone_at"))
    assert rows[0]["at.city"] == "Rome" and rows[0]["at.geo.lat"] == "1.5" and rows[0]["_deleted"] is True


def test_a_wrong_path_to_the_records_ends_in_a_sentence() -> None:
    with pytest.raises(SourceFailed, match=r"no list of records at 'data\.people'"):
        _read(_source(Api([]), records="data.people"))


def test_check_tells_what_comes_and_nothing_secret_is_shown() -> None:
    source = _source(Api(_people(3)), {"auth": {"kind": "bearer", "token": "canary"}}, paging=PAGINGS["cursor"])
    assert source.check().sentence == "People gives 2 records on the first page of 'people'."
    refused = _source(_answering(httpx.Response(401)), {"auth": {"kind": "bearer", "token": "canary"}})
    assert not refused.check().ok
    assert "canary" not in repr(source) + refused.check().sentence + repr(source._config)


def test_a_declaration_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs a 'format'"):
        RestStream.model_validate({"path": "/p", "key": ["id"], "cursor": {"field": "a", "param": "b", "overlap": 5}})
    with pytest.raises(ValidationError, match="say 'later' or 'fail'"):
        RestConfig.model_validate({"base_url": BASE, "errors": [{"status": 200, "means": "retry"}]})
