"""What every source must hold, as a plain pytest base class: subclass it, say how yours is made, run pytest.

    class TestShop(SourceContract):
        stream = "orders"

        def make(self) -> Source:
            return Shop(ShopConfig(...), transport=httpx.MockTransport(self.server), sleep=self.sleep)

        def expected(self) -> set[tuple[str, ...]]:
            return {("1",), ("2",), ("3",)}

The tests about reading hold for any source. Those about faults need `inject`: a source of an HTTP API gives it to
say how a fault is planned; without it they are skipped. `secrets` are words that must appear nowhere; `key` names
a record when the stream does not say it; `renews` says that the source gets itself a new token when one runs out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import httpx
import pyarrow as pa
import pytest

from consentry.connectors import http
from consentry.connectors.base import Check, Page, Source, State, Stream
from consentry.errors import ConsentryError, RetryLater

# Each with its settings, as the sandbox names them (consentry.testing.sandbox.faults).
FAULTS: dict[str, dict[str, Any]] = {
    "a 429 with seconds": {"kind": "rate_limited", "retry_after": "2"},
    "a 429 with a date": {"kind": "rate_limited", "retry_after": "date"},
    "a bare 429": {"kind": "rate_limited", "retry_after": None},
    "a 500": {"kind": "server_error", "status": 500},
    "a 503": {"kind": "server_error", "status": 503},
    "a connection reset": {"kind": "reset"},
    "a truncated page": {"kind": "truncated"},
    "a page that is not JSON": {"kind": "garbage"},
}
# An answer that comes after the client has stopped waiting, for which it has the patience below.
TIMEOUT: dict[str, Any] = {"kind": "delay", "seconds": 1.5}
PATIENCE = httpx.Timeout(0.5, connect=10.0)
PAUSES: dict[str, dict[str, Any]] = {
    "an absurd Retry-After": {"kind": "rate_limited", "retry_after": "3600"},
    "a used-up day": {"kind": "daily_limit", "times": 50},
}


@dataclass
class Got:
    """What a read gave: keys in their order, and the last state."""

    keys: list[tuple[str, ...]] = field(default_factory=list)
    state: State = field(default_factory=dict)
    pages: int = 0
    columns: set[str] = field(default_factory=set)

    def take(self, pages: Iterator[Page], key: tuple[str, ...]) -> Got:
        """Add pages as they come; what came before an error is kept."""
        for page in pages:
            self.keys += keys_of(page.records, key)
            self.columns |= set(page.records.schema.names)
            self.state, self.pages = page.state, self.pages + 1
        return self


def keys_of(records: pa.RecordBatch, key: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the keys of records as text; records that only say that something is gone are none."""
    return [
        tuple(str(row[name]) for name in key)
        for row in records.to_pylist()
        if not row.get("_deleted") and not row.get("_malformed")
    ]


class SourceContract:
    """The contract. Override `make` and `expected`; the rest when your source can do it."""

    stream: str = ""
    key: tuple[str, ...] = ("id",)
    secrets: tuple[str, ...] = ()
    renews: bool = False

    def make(self) -> Source:
        """Make the source anew, as a later run would."""
        raise NotImplementedError("say how your source is made")

    def expected(self) -> set[tuple[str, ...]]:
        """Return the keys that a whole read gives, as text."""
        raise NotImplementedError("say which keys your source has")

    def make_empty(self) -> Source:
        """Make a source whose stream has no records."""
        pytest.skip("this source has no empty stream")

    def inject(self, **fault: Any) -> None:
        """Plan a fault for the next requests; see FAULTS."""
        pytest.skip("this source calls nobody")

    def requests(self) -> int:
        """Return how many requests for records were made so far."""
        pytest.skip("this source calls nobody")

    def change_while_paging(self) -> None:
        """Change a record that a read under way has given or will give."""
        pytest.skip("the records of this source stand still")

    def change_schema(self) -> str:
        """Give records another column, as the source's owner might; return its name, empty when yours reads only some.

        The records stay those that are expected.
        """
        pytest.skip("the columns of this source stand still")

    def test_check_says_that_it_can_be_read(self) -> None:
        found = self.make().check()
        assert isinstance(found, Check) and found.ok and found.sentence

    def test_the_stream_is_discovered_with_its_key(self) -> None:
        found = self._stream(self.make())
        assert isinstance(found, Stream) and isinstance(found.schema, pa.Schema)

    def test_a_whole_read_gives_every_record_once(self) -> None:
        got = self._read()
        assert sorted(got.keys) == sorted(self.expected())

    def test_a_read_goes_on_behind_every_page(self) -> None:
        pages = self._read().pages
        for stop in range(1, min(pages, 12) + 1):
            source = self.make()
            got = Got().take(islice(source.read(self._stream(source), {}), stop), self._key(source))
            again = self.make()
            if stop < pages:
                got.take(again.read(self._stream(again), got.state), self._key(again))
            assert sorted(got.keys) == sorted(self.expected()), f"stopped after page {stop} of {pages}"

    def test_states_are_plain_json(self) -> None:
        source = self.make()
        for page in source.read(self._stream(source), {}):
            assert json.loads(json.dumps(dict(page.state))) == dict(page.state)

    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
    def test_what_passes_loses_and_repeats_nothing(self, fault: dict[str, Any]) -> None:
        self.inject(**fault, after=1)
        assert sorted(self._read().keys) == sorted(self.expected())

    def test_an_answer_that_does_not_come_in_time_is_asked_for_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "TIMEOUT", PATIENCE)
        self.inject(**TIMEOUT, after=1)
        assert sorted(self._read().keys) == sorted(self.expected())

    def test_a_token_that_runs_out_loses_and_repeats_nothing(self) -> None:
        self.inject(kind="expired_token", after=1)
        source, got = self.make(), Got()
        try:
            got.take(source.read(self._stream(source), {}), self._key(source))
        except ConsentryError:
            assert not self.renews, "the source renews its token, and stopped nevertheless"
            self.clear()
            again = self.make()
            got.take(again.read(self._stream(again), got.state), self._key(again))
        assert sorted(got.keys) == sorted(self.expected())

    def test_a_new_column_is_shown_and_loses_no_record(self) -> None:
        before = self._read().columns
        name = self.change_schema()
        got = self._read()
        assert sorted(got.keys) == sorted(self.expected())
        assert got.columns >= before | ({name} if name else set())

    def test_a_column_that_comes_between_two_runs_loses_no_record(self) -> None:
        source = self.make()
        got = Got().take(islice(source.read(self._stream(source), {}), 1), self._key(source))
        self.change_schema()
        again = self.make()
        got.take(again.read(self._stream(again), got.state), self._key(again))
        assert set(got.keys) >= self.expected()

    @pytest.mark.parametrize("fault", PAUSES.values(), ids=PAUSES)
    def test_a_long_wait_pauses_the_read_and_it_goes_on_later(self, fault: dict[str, Any]) -> None:
        self.inject(**fault, after=1)
        source, got = self.make(), Got()
        with pytest.raises(RetryLater):
            got.take(source.read(self._stream(source), {}), self._key(source))
        self.clear()
        again = self.make()
        got.take(again.read(self._stream(again), got.state), self._key(again))
        assert sorted(got.keys) == sorted(self.expected())

    def test_a_repeated_cursor_ends_the_read_and_it_goes_on_later(self) -> None:
        self.inject(kind="repeated_cursor", times=50, after=1)
        source, got = self.make(), Got()
        with pytest.raises(ConsentryError) as caught:
            got.take(source.read(self._stream(source), {}), self._key(source))
        assert caught.value.code == "repeated_cursor"
        self.clear()
        again = self.make()
        got.take(again.read(self._stream(again), got.state), self._key(again))
        assert sorted(got.keys) == sorted(self.expected())

    def test_records_that_change_while_paging_are_not_lost(self) -> None:
        source, got = self.make(), Got()
        for number, page in enumerate(source.read(self._stream(source), {})):
            if number == 0:
                self.change_while_paging()
            got.take(iter([page]), self._key(source))
        assert set(got.keys) >= self.expected()

    def test_an_empty_stream_opens_no_second_request(self) -> None:
        source = self.make_empty()
        stream = self._stream(source)
        before = self.requests()
        got = Got().take(source.read(stream, {}), stream.primary_key)
        assert not got.keys
        assert self.requests() - before == 1

    def test_no_secret_is_shown(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        source = self.make()
        shown = repr(source) + str(vars(source).get("_config", "")) + source.check().sentence
        self._fail(source)
        assert not [word for word in self.secrets if word in shown + caplog.text]

    def clear(self) -> None:
        """Take back the faults that are planned."""

    def _fail(self, source: Source) -> None:
        """Let a read fail for good, and look at everything that the error carries."""
        try:
            self.inject(kind="expired_token", times=50)
        except pytest.skip.Exception:
            return
        try:
            Got().take(source.read(self._stream(source), {}), ())
        except ConsentryError as error:
            told = f"{error!r} {error.__dict__} {error.__context__!r} {error.__cause__!r}"
            assert not [word for word in self.secrets if word in told]
        finally:
            self.clear()

    def _stream(self, source: Source) -> Stream:
        found = {stream.name: stream for stream in source.discover()}
        return found[self.stream] if self.stream else next(iter(found.values()))

    def _key(self, source: Source) -> tuple[str, ...]:
        return self._stream(source).primary_key or self.key

    def _read(self) -> Got:
        source = self.make()
        return Got().take(source.read(self._stream(source), {}), self._key(source))
