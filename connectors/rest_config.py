"""What a job says about an HTTP API that has no connector of its own: where, how to log in, how it pages."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from consentry.connectors.base import ConnectorConfig
from consentry.connectors.http import BaseUrl


class NoLogin(ConnectorConfig):
    """The API asks for no login."""

    kind: Literal["none"] = "none"


class BearerLogin(ConnectorConfig):
    """A token in the header `Authorization: Bearer ...`."""

    kind: Literal["bearer"]
    token: SecretStr


class HeaderLogin(ConnectorConfig):
    """A key in a header of the API's own."""

    kind: Literal["header"]
    name: str = Field(pattern=r"^[A-Za-z0-9-]+$")
    value: SecretStr


class BasicLogin(ConnectorConfig):
    """A user name and a password (RFC 7617)."""

    kind: Literal["basic"]
    username: str
    password: SecretStr = SecretStr("")


class OAuthLogin(ConnectorConfig):
    """A token from a token endpoint: client credentials, or a refresh token that may rotate."""

    kind: Literal["oauth"]
    token_url: BaseUrl
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr | None = None
    scope: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)


LoginKind = Annotated[NoLogin | BearerLogin | HeaderLogin | BasicLogin | OAuthLogin, Field(discriminator="kind")]


class OnePage(ConnectorConfig):
    """The whole stream comes in one answer."""

    kind: Literal["none"] = "none"


class PageNumbers(ConnectorConfig):
    """Pages have numbers. total: where an answer says how many records there are; then pages come side by side."""

    kind: Literal["number"]
    param: str = "page"
    first: int = Field(default=1, ge=0)
    size: int = Field(default=100, gt=0)
    size_param: str | None = None
    total: str | None = None


class Offsets(ConnectorConfig):
    """Pages begin at an offset. Each page is asked for with one record of the page before: when that is no longer
    where it was, records moved in between, and the read begins again. total: as for page numbers, without that check.
    """

    kind: Literal["offset"]
    param: str = "offset"
    size: int = Field(default=100, gt=0)
    size_param: str | None = "limit"
    total: str | None = None


class CursorPages(ConnectorConfig):
    """An answer names the cursor of the next page, at a path in its body."""

    kind: Literal["cursor"]
    param: str
    at: str
    more: str | None = Field(default=None, description="Where an answer says whether there is more.")


class LinkHeader(ConnectorConfig):
    """An answer names the next page in its Link header (RFC 8288)."""

    kind: Literal["link"]


class NextUrl(ConnectorConfig):
    """An answer holds the next page's URL, at a path in its body; it is followed on the same host only."""

    kind: Literal["next"]
    at: str


Paging = Annotated[OnePage | PageNumbers | Offsets | CursorPages | LinkHeader | NextUrl, Field(discriminator="kind")]


class RestCursor(ConnectorConfig):
    """How to ask for what changed: the field that moves, and the parameter that takes its last value."""

    field: str
    param: str
    format: Literal["iso", "unix", "unix_ms", "as_is"] = "as_is"
    first: str | None = Field(default=None, description="The value for the first read; the parameter is left out else.")
    overlap: int = Field(default=0, ge=0, description="Seconds that each read reaches back; not for as_is.")

    @model_validator(mode="after")
    def _can_reach_back(self) -> Self:
        if self.overlap and self.format == "as_is":
            raise ValueError("an overlap needs a 'format': iso, unix or unix_ms")
        return self


class ErrorRule(ConnectorConfig):
    """What an answer means. status and, where it is given, the value at a path of the body must fit.

    means: empty (there are no records), retry (too many calls), later (pause the run), fail.
    """

    status: int = Field(ge=200, le=599)
    at: str | None = None
    equals: str | int | bool | None = None
    means: Literal["empty", "retry", "later", "fail"]
    wait: float = Field(default=3600.0, ge=0, description="For later: seconds until the run may go on.")

    @model_validator(mode="after")
    def _can_be_told(self) -> Self:
        if self.means == "retry" and self.status < 400:
            raise ValueError("only an answer of 400 or more can mean 'retry'; say 'later' or 'fail'")
        if self.means == "empty" and self.at is not None and self.status >= 300:
            raise ValueError("an answer of 300 or more means 'empty' by its status alone; leave 'at' out")
        return self


class Pace(ConnectorConfig):
    """At most so many calls in so many seconds."""

    calls: int = Field(gt=0)
    seconds: float = Field(gt=0)


class RestConfig(ConnectorConfig):
    """The API."""

    base_url: BaseUrl = Field(description="Where the API is; paths of streams come behind it.")
    name: str = Field(default="The API", description="What messages call it.")
    auth: LoginKind = Field(default_factory=NoLogin, description="none, bearer, header, basic or oauth.")
    headers: dict[str, str] = Field(default_factory=dict, description="Further headers of every call; no secrets.")
    limits: tuple[Pace, ...] = Field(default=(), description="How often the API may be called.")
    at_once: int = Field(default=4, ge=1, le=32, description="How many calls may be under way at the same time.")
    errors: tuple[ErrorRule, ...] = Field(default=(), description="What special answers mean; the first that fits.")


class RestStream(ConnectorConfig):
    """One list of records of the API."""

    path: str = Field(pattern=r"^/", description="Where the records are, below base_url.")
    method: Literal["GET", "POST"] = Field(default="GET", description="POST for searches; it must change nothing.")
    params: dict[str, str] = Field(default_factory=dict, description="Parameters of every page.")
    body: dict[str, Any] | None = Field(default=None, description="The JSON body of a POST; paging goes into it.")
    records: str = Field(
        default="", description="Where in an answer the records are: data.items; empty for the answer."
    )
    key: tuple[str, ...] = Field(min_length=1, description="The fields that name a record.")
    paging: Paging = Field(default_factory=OnePage, description="none, number, offset, cursor, link or next.")
    cursor: RestCursor | None = Field(default=None, description="How to ask for changes; each read is whole without.")
    flatten: bool = Field(default=False, description="Whether a nested object's fields become columns: address.city.")
    deleted: str | None = Field(default=None, description="The field that is true (or a date) on deleted records.")
