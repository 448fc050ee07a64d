"""Any HTTP API that gives JSON as a source, declared in YAML alone."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
import pyarrow as pa

from consentry.connectors.base import Check, ConnectorConfig, Page, State, Stream
from consentry.connectors.http import Answer, HttpClient, HttpFailed, failing_as
from consentry.connectors.quota import Limit
from consentry.connectors.rest_config import (
    BasicLogin,
    BearerLogin,
    ErrorRule,
    HeaderLogin,
    OAuthLogin,
    RestConfig,
    RestStream,
)
from consentry.connectors.rest_pages import found_at
from consentry.connectors.rest_read import RestRead
from consentry.connectors.retry import retry_after
from consentry.connectors.tokens import Login, TokenStore, token_endpoint
from consentry.errors import RetryLater, SourceFailed


class Rest:
    """Lists of records of one HTTP API.

    Proof level D for your API: its declaration is only as good as its documentation was read.
    """

    Config: ClassVar[type[ConnectorConfig]] = RestConfig
    StreamOptions: ClassVar[type[ConnectorConfig]] = RestStream

    def __init__(
        self,
        config: RestConfig,
        *,
        streams: Mapping[str, RestStream] | None = None,
        account: str = "",
        keep: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config, self._streams = config, dict(streams or {})
        account = account or config.base_url
        login = _login(config, account, keep, transport, sleep)
        self.http = HttpClient(
            config.base_url,
            vendor=config.name,
            account=account,
            headers=lambda: {"Accept": "application/json", **config.headers, **_headers(config, login)},
            renew=login.renew if login else None,
            limits={"": [Limit(pace.calls, pace.seconds) for pace in config.limits]},
            turned_away=lambda status, headers, body: _means(config.errors, status, body) in ("retry", "later"),
            pause=self._pause,
            at_once=config.at_once,
            transport=transport,
            sleep=sleep,
        )

    def __repr__(self) -> str:
        return f"Rest({urlsplit(self._config.base_url).hostname})"

    def check(self) -> Check:
        """Ask for the first page of the first stream."""
        name = self._config.name
        for stream in self.discover()[:1]:
            try:
                page = next(self.read(stream, {}))
            except (SourceFailed, RetryLater) as error:
                return Check(False, str(error))
            return Check(True, f"{name} gives {page.records.num_rows} records on the first page of {stream.name!r}.")
        return Check(False, f"{name} has no streams to read. Name one with its path.")

    def discover(self) -> list[Stream]:
        """List the streams of the job; what columns there are shows when records come."""
        return [
            Stream(
                name,
                options.key,
                pa.schema([(column, pa.string()) for column in options.key]),
                cursor=options.cursor.field if options.cursor else None,
            )
            for name, options in self._streams.items()
        ]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what changed since `state`, or everything when the stream has no cursor; values come as text."""
        options = self._streams[stream.name]
        with failing_as(SourceFailed):
            yield from RestRead(self.http, self._ask, stream.name, options, self._config, state).pages()

    def _pause(self, status: int, headers: Mapping[str, str], body: Any) -> float | None:
        rule = _rule(self._config.errors, status, body)
        if rule and rule.means == "later":
            return rule.wait
        return retry_after(headers.get("retry-after"), datetime.now(UTC))

    def _ask(self, path: str, options: RestStream, params: Mapping[str, Any]) -> Answer | None:
        """Call, and return the answer; None when a rule says that it means that there are no records."""
        answer: Answer | None = None
        failed: HttpFailed | None = None
        try:
            answer = self._call(path, options, params)
        except HttpFailed as error:
            failed = error
        if answer is None or failed:
            if failed and _means(self._config.errors, failed.status or 0, None) != "empty":
                raise failed
            return None
        rule = _rule(self._config.errors, answer.status, answer.body)
        if rule:
            self._raise_as_said(rule)
        return None if rule else answer

    def _call(self, path: str, options: RestStream, params: Mapping[str, Any]) -> Answer:
        if options.method == "GET":
            texts = {name: str(value) for name, value in params.items()}
            return self.http.request("GET", path, params=texts)
        body = {**(options.body or {}), **params}
        return self.http.request("POST", path, body=body, repeatable=True)

    def _raise_as_said(self, rule: ErrorRule) -> None:
        name = self._config.name
        if rule.means == "later":
            message = f"{name} says that the quota is used up. Run again later; the run goes on where it stopped."
            raise RetryLater(message, after=rule.wait, code="quota")
        if rule.means == "fail":
            message = f"{name} answered {rule.status} with {rule.at} = {rule.equals}, which 'errors' calls a failure."
            raise SourceFailed(message, code="declared_error")


def _rule(rules: tuple[ErrorRule, ...], status: int, body: Any) -> ErrorRule | None:
    fitting = (
        rule for rule in rules if rule.status == status and (rule.at is None or found_at(body, rule.at) == rule.equals)
    )
    return next(fitting, None)


def _means(rules: tuple[ErrorRule, ...], status: int, body: Any) -> str | None:
    rule = _rule(rules, status, body)
    return rule.means if rule else None


def _headers(config: RestConfig, login: Login | None) -> Mapping[str, str]:
    match config.auth:
        case BearerLogin(token=token):
            return {"Authorization": f"Bearer {token.get_secret_value()}"}
        case HeaderLogin(name=name, value=value):
            return {name: value.get_secret_value()}
        case BasicLogin(username=username, password=password):
            plain = f"{username}:{password.get_secret_value()}".encode()
            return {"Authorization": "Basic " + base64.b64encode(plain).decode()}
    return login.headers() if login else {}


def _login(
    config: RestConfig,
    account: str,
    keep: Path | None,
    transport: httpx.BaseTransport | None,
    sleep: Callable[[float], None],
) -> Login | None:
    auth = config.auth
    if not isinstance(auth, OAuthLogin):
        return None

    def form(refresh: str | None) -> Mapping[str, str]:
        granted = {"grant_type": "refresh_token", "refresh_token": refresh} if refresh else {}
        scope = {"scope": auth.scope} if auth.scope else {}
        secret = {"client_id": auth.client_id, "client_secret": auth.client_secret.get_secret_value()}
        return {"grant_type": "client_credentials", **granted, **scope, **secret, **auth.fields}

    fetch = token_endpoint(
        auth.token_url,
        vendor=config.name,
        account=account,
        form=form,
        rotates=auth.refresh_token is not None,
        transport=transport,
        sleep=sleep,
    )
    store = TokenStore(keep / "tokens.json") if keep and auth.refresh_token else None
    return Login(fetch, account=account, refresh=auth.refresh_token, store=store)
