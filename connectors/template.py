"""A connector to begin with: a small package that works, its test included."""

from __future__ import annotations

from pathlib import Path
from string import Template

from consentry.errors import ConfigError
from consentry.model.names import is_name

_PYPROJECT = Template("""\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "consentry-$name"
version = "0.1.0"
description = "$title as a source of consentry."
requires-python = ">=3.11"
dependencies = ["consentry"]

[project.entry-points."consentry.connectors"]
$name = "consentry_$name:$title"

[tool.setuptools]
py-modules = ["consentry_$name"]
""")

_MODULE = Template('''\
"""$title as a source: the records that changed, page by page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import httpx
import pyarrow as pa
from pydantic import Field, SecretStr

from consentry.connectors.base import Check, ConnectorConfig, NoOptions, Page, State, Stream
from consentry.connectors.http import BaseUrl, HttpClient, HttpFailed, failing_as
from consentry.connectors.paging import Cursors
from consentry.errors import RetryLater, SourceFailed

COLUMNS = ("id", "email", "name", "updated_at")


class ${title}Config(ConnectorConfig):
    """The account, and how to log in."""

    base_url: BaseUrl = Field(description="Where the API is.")
    token: SecretStr = Field(description="The API's token, as $${VARIABLE}.")


class $title:
    """The people of one account."""

    Config: ClassVar[type[ConnectorConfig]] = ${title}Config
    StreamOptions: ClassVar[type[ConnectorConfig]] = NoOptions

    def __init__(
        self,
        config: ${title}Config,
        *,
        streams: Mapping[str, ConnectorConfig] | None = None,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # The client waits, retries, keeps quotas and says nothing secret: a connector does none of that.
        self._http = HttpClient(
            config.base_url,
            vendor="$title",
            account=account or config.base_url,
            headers=lambda: {"Authorization": f"Bearer {config.token.get_secret_value()}"},
            transport=transport,
            sleep=sleep,
        )

    def check(self) -> Check:
        """Ask for the first page."""
        try:
            next(self.read(self.discover()[0], {}))
        except (HttpFailed, RetryLater, SourceFailed) as error:
            return Check(False, str(error))
        return Check(True, "$title accepts the token.")

    def discover(self) -> list[Stream]:
        """List the one stream there is."""
        schema = pa.schema([(name, pa.string()) for name in COLUMNS])
        return [Stream("people", ("id",), schema, cursor="updated_at")]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what changed since `state`: since is the cursor of the read, after the next page of it."""
        cursors, now = Cursors("$title"), dict(state)
        cursors.follow(now.get("after"))
        with failing_as(SourceFailed):
            while True:
                params = {name: str(now[name]) for name in ("since", "after") if name in now}
                body = self._http.request("GET", "/people", params=params).body
                records, following = body["people"], body.get("next")
                now["top"] = max([now.get("top", ""), *(record["updated_at"] for record in records)])
                if following is None:
                    # The read is done; the next one asks for what changed since the newest record.
                    yield Page(_batch(records, stream.schema), {"since": now["top"], "top": now["top"]})
                    return
                now["after"] = cursors.follow(following)
                yield Page(_batch(records, stream.schema), dict(now))


def _batch(records: list[dict[str, str]], schema: pa.Schema) -> pa.RecordBatch:
    columns = {name: pa.array([record.get(name) for record in records], pa.string()) for name in schema.names}
    return pa.RecordBatch.from_pydict(columns)
''')

_TEST = Template('''\
"""$title keeps what every source must keep: see consentry.testing.SourceContract."""

from __future__ import annotations

from itertools import count
from typing import Any

import httpx
import pytest
from consentry_$name import $title, ${title}Config
from pydantic import SecretStr

from consentry.connectors.base import Source
from consentry.testing import SourceContract

_accounts = count()
PEOPLE = [{"id": str(n), "email": f"p{n}@example.com", "updated_at": f"2026-01-{n + 1:02d}"} for n in range(9)]
SIZE = 2


class Test$title(SourceContract):
    secrets = ("canary-token",)

    @pytest.fixture(autouse=True)
    def _server(self) -> None:
        self.people, self.faults, self.seen = list(PEOPLE), list[dict[str, Any]](), 0

    def make(self) -> Source:
        config = ${title}Config(base_url="https://api.example.com", token=SecretStr("canary-token"))
        transport = httpx.MockTransport(self.answer)
        return $title(config, account=f"test-{next(_accounts)}", transport=transport, sleep=lambda seconds: None)

    def expected(self) -> set[tuple[str, ...]]:
        return {(person["id"],) for person in PEOPLE}

    def make_empty(self) -> Source:
        self.people = []
        return self.make()

    def inject(self, **fault: Any) -> None:
        self.faults.append({"times": 1, "after": 0, **fault, "met": 0})

    def clear(self) -> None:
        self.faults.clear()

    def change_schema(self) -> str:
        self.people = [{**person, "shoe": "44"} for person in self.people]
        return ""  # $title reads the columns that it knows

    def requests(self) -> int:
        return self.seen

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.seen += 1
        for fault in self.faults:
            fault["met"] += 1
            if fault["after"] < fault["met"] <= fault["after"] + fault["times"]:
                return self.failed(fault, request)
        return self.page(request)

    def page(self, request: httpx.Request) -> httpx.Response:
        begin, since = int(request.url.params.get("after", 0)), request.url.params.get("since", "")
        found = [person for person in self.people if person["updated_at"] >= since]
        following = str(begin + SIZE) if begin + SIZE < len(found) else None
        return httpx.Response(200, json={"people": found[begin : begin + SIZE], "next": following})

    def failed(self, fault: dict[str, Any], request: httpx.Request) -> httpx.Response:
        match fault["kind"]:
            case "rate_limited":
                after = fault["retry_after"]
                date = "Wed, 01 Jan 2020 00:00:00 GMT"
                return httpx.Response(429, headers={"Retry-After": date if after == "date" else after} if after else {})
            case "daily_limit":
                return httpx.Response(429, headers={"Retry-After": "40000"})
            case "server_error":
                return httpx.Response(fault["status"])
            case "reset":
                raise httpx.RemoteProtocolError("reset")
            case "delay":
                raise httpx.ReadTimeout("too late")
            case "truncated" | "garbage":
                return httpx.Response(200, content=self.page(request).content[:-9])
            case "expired_token":
                return httpx.Response(401)
            case "repeated_cursor":
                return httpx.Response(200, json={"people": self.people[:SIZE], "next": "2"})
        raise AssertionError(fault)
''')


def write_package(name: str, folder: Path) -> list[Path]:
    """Write the package of a new source into `folder`/consentry-NAME and return its files.

    Raises ConfigError when the name is none, or the folder is there already.
    """
    if not is_name(name):
        raise ConfigError(f"{name!r} is no name for a connector. Write lower-case letters, digits and '_'.")
    target = folder / f"consentry-{name}"
    if target.exists():
        raise ConfigError(f"{target} is there already. Choose another name or folder.")
    texts = {"pyproject.toml": _PYPROJECT, f"consentry_{name}.py": _MODULE, f"test_{name}.py": _TEST}
    title = "".join(part.capitalize() for part in name.split("_"))
    target.mkdir(parents=True)
    for file, text in texts.items():
        (target / file).write_text(text.substitute(name=name, title=title), encoding="utf-8")
    return [target / file for file in texts]
