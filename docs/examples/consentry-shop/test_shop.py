"""Shop keeps what every source must keep: see consentry.testing.SourceContract."""

from __future__ import annotations

from itertools import count
from typing import Any

import httpx
import pytest
from consentry_shop import Shop, ShopConfig
from pydantic import SecretStr

from consentry.connectors.base import Source
from consentry.testing import SourceContract

_accounts = count()
PEOPLE = [{"id": str(n), "email": f"p{n}@example.com", "updated_at": f"2026-01-{n + 1:02d}"} for n in range(9)]
SIZE = 2


class TestShop(SourceContract):
    secrets = ("canary-token",)

    @pytest.fixture(autouse=True)
    def _server(self) -> None:
        self.people, self.faults, self.seen = list(PEOPLE), list[dict[str, Any]](), 0

    def make(self) -> Source:
        config = ShopConfig(base_url="https://api.example.com", token=SecretStr("canary-token"))
        transport = httpx.MockTransport(self.answer)
        return Shop(config, account=f"test-{next(_accounts)}", transport=transport, sleep=lambda seconds: None)

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
        return ""  # Shop reads the columns that it knows

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
