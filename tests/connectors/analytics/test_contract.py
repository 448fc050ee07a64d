"""The analytics sources against the contract that every source holds."""

from __future__ import annotations

from typing import Any

import pytest
import test_amplitude
import test_ga4
import test_mixpanel
import test_posthog

from consentry.connectors import export_lines
from consentry.connectors.base import Source
from consentry.testing.sandbox import Sandbox
from tests.connectors.nothing_is_lost import NothingIsLost


class _AgainstSandbox(NothingIsLost):
    """A source that reads from a simulator. no_cursor: there is none to repeat. bare: what a bare 429 means."""

    vendor = ""
    path = ""
    no_cursor = True
    bare = ""

    @pytest.fixture(autouse=True)
    def _sandbox(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(export_lines, "PAGE_ROWS", 20)
        self.sandbox = sandbox
        self.simulator: Any = sandbox.vendors[self.vendor]  # of a vendor's own class
        self.fill()

    def fill(self) -> None:
        """Put records into the simulator."""
        raise NotImplementedError

    def inject(self, **fault: Any) -> None:
        if fault["kind"] == "repeated_cursor" and self.no_cursor:
            pytest.skip("there is no cursor")
        if self.bare and fault.get("retry_after", "") is None:
            pytest.skip(self.bare)
        self.plan(**fault)

    def plan(self, **fault: Any) -> None:
        self.sandbox.fault(match=self.path, **fault)

    def clear(self) -> None:
        self.sandbox.clear_faults()

    def requests(self) -> int:
        return sum(self.path in seen.path for seen in self.sandbox.requests)


class TestMixpanelEvents(_AgainstSandbox):
    stream, vendor, path = "events", "mixpanel", "/export"
    secrets = ("sandbox-mixpanel", "@example.com")
    bare = "a 429 without a date means that the hour is used up"

    def fill(self) -> None:
        self.simulator.events = [test_mixpanel._event(number) for number in range(120)]

    def make(self) -> Source:
        return test_mixpanel._mixpanel(self.sandbox, window_days=10)

    def make_empty(self) -> Source:
        self.simulator.events = []
        return test_mixpanel._mixpanel(self.sandbox, window_days=31)

    def expected(self) -> set[tuple[str, ...]]:
        times = {event.properties["$insert_id"]: event.at for event in self.simulator.events}
        return {
            ("viewed", f"{times[f'i{n}']:%Y-%m-%dT%H:%M:%S}.000Z", f"user{n % 25}", f"i{n}") for n in range(120)
        }  # fmt: skip


class TestMixpanelProfiles(_AgainstSandbox):
    stream, vendor, path = "profiles", "mixpanel", "/engage"
    secrets = ("sandbox-mixpanel", "@example.com")
    no_cursor = False
    bare = "a 429 without a date means that the hour is used up"

    def fill(self) -> None:
        self.simulator.profiles = {f"user{number}": test_mixpanel._profile(number) for number in range(25)}
        self.simulator.page_size = 10

    def make(self) -> Source:
        return test_mixpanel._mixpanel(self.sandbox)

    def make_empty(self) -> Source:
        self.simulator.profiles = {}
        return self.make()

    def expected(self) -> set[tuple[str, ...]]:
        return {(f"user{number}",) for number in range(25)}


class TestGA4(_AgainstSandbox):
    stream, vendor, path = "channels", "ga4", "runReport"
    secrets = ("BEGIN PRIVATE KEY", "sandbox-ga4-")
    renews = True
    bare = "a 429 without a date means that the property's quota is used up"

    def fill(self) -> None:
        days = [test_ga4.date(2026, 3, day) for day in range(1, 32)]
        self.simulator.visits = [test_ga4._visit(day, channel) for day in days for channel in test_ga4.CHANNELS]

    def make(self) -> Source:
        return test_ga4._ga4(self.sandbox, page_rows=13, window_days=10)

    def expected(self) -> set[tuple[str, ...]]:
        return {(f"2026-03-{day:02d}", channel) for day in range(1, 20) for channel in test_ga4.CHANNELS}

    def change_while_paging(self) -> None:
        self.simulator.visits.insert(0, test_ga4._visit(test_ga4.date(2026, 3, 1), "Affiliates"))


class TestAmplitude(_AgainstSandbox):
    stream, vendor, path = "events", "amplitude", "/export"
    secrets = ("sandbox-amplitude",)

    def fill(self) -> None:
        begun, minutes = test_amplitude.BEGUN, test_amplitude.timedelta(minutes=20)
        self.simulator.events = [test_amplitude._event(number, begun + number * minutes) for number in range(120)]

    def make(self) -> Source:
        return test_amplitude._amplitude(self.sandbox, window_hours=12)

    def make_empty(self) -> Source:
        self.simulator.events = []
        return test_amplitude._amplitude(self.sandbox, window_hours=100)

    def expected(self) -> set[tuple[str, ...]]:
        return {(f"u{number}",) for number in range(102)}


class TestPostHogEvents(_AgainstSandbox):
    stream, vendor, path = "events", "posthog", "/query/"
    secrets = ("sandbox-posthog",)

    def fill(self) -> None:
        begun, hour = test_posthog.BEGUN, test_posthog.timedelta(hours=1)
        self.simulator.events = [test_posthog._event(number, begun + number // 30 * hour) for number in range(120)]

    def make(self) -> Source:
        return test_posthog._posthog(self.sandbox)

    def make_empty(self) -> Source:
        self.simulator.events = []
        return self.make()

    def expected(self) -> set[tuple[str, ...]]:
        return {(event["uuid"],) for event in self.simulator.events}


class TestPostHogPersons(_AgainstSandbox):
    stream, vendor, path = "persons", "posthog", "/persons/"
    secrets = ("sandbox-posthog", "@example.com")
    no_cursor = False

    def fill(self) -> None:
        self.simulator.persons = [test_posthog._person(number) for number in range(250)]

    def make(self) -> Source:
        return test_posthog._posthog(self.sandbox)

    def make_empty(self) -> Source:
        self.simulator.persons = []
        return self.make()

    def expected(self) -> set[tuple[str, ...]]:
        return {(f"p{number}",) for number in range(250)}
