"""Shop as a source: the records that changed, page by page."""

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


class ShopConfig(ConnectorConfig):
    """The account, and how to log in."""

    base_url: BaseUrl = Field(description="Where the API is.")
    token: SecretStr = Field(description="The API's token, as ${VARIABLE}.")


class Shop:
    """The people of one account."""

    Config: ClassVar[type[ConnectorConfig]] = ShopConfig
    StreamOptions: ClassVar[type[ConnectorConfig]] = NoOptions

    def __init__(
        self,
        config: ShopConfig,
        *,
        streams: Mapping[str, ConnectorConfig] | None = None,
        account: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # The client waits, retries, keeps quotas and says nothing secret: a connector does none of that.
        self._http = HttpClient(
            config.base_url,
            vendor="Shop",
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
        return Check(True, "Shop accepts the token.")

    def discover(self) -> list[Stream]:
        """List the one stream there is."""
        schema = pa.schema([(name, pa.string()) for name in COLUMNS])
        return [Stream("people", ("id",), schema, cursor="updated_at")]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield what changed since `state`: since is the cursor of the read, after the next page of it."""
        cursors, now = Cursors("Shop"), dict(state)
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
