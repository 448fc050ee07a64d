"""Go through the pages of an API: fetch ahead where that is possible, keep their order, never go round in circles."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from consentry.errors import SourceFailed

K = TypeVar("K")
V = TypeVar("V")


class Cursors:
    """The cursors that a read has followed so far; a vendor that gives one of them again would never end.

    vendor: its name in the error's sentence.
    """

    def __init__(self, vendor: str) -> None:
        self._vendor = vendor
        self._seen: set[str] = set()

    def follow(self, cursor: object) -> str:
        """Return the cursor as text; raises SourceFailed when it was followed before (facts: dlt, airbyte #8300)."""
        text = str(cursor)
        if text in self._seen:
            raise repeated(self._vendor)
        self._seen.add(text)
        return text


def repeated(vendor: str) -> SourceFailed:
    """Return the error for a page or a cursor that came twice."""
    message = f"{vendor} gave the same page again, which would never end. Run again; tell them if it stays."
    return SourceFailed(message, code="repeated_cursor")


def in_order(fetch: Callable[[K], V], keys: Iterable[K], *, at_once: int = 4) -> Iterator[V]:
    """Yield what `fetch` returns for each key, in the order of the keys, `at_once` of them under way.

    For an API whose pages can be asked for without having seen the page before: numbers, offsets, days, ids.
    An error is raised at its place, after everything before it; no key behind it is begun any more.
    """
    ahead_of_us = iter(keys)
    with ThreadPoolExecutor(at_once, "pages") as pool:
        running: deque[Future[V]] = deque(pool.submit(fetch, key) for key in islice(ahead_of_us, at_once))
        try:
            while running:
                result = running.popleft().result()
                running.extend(pool.submit(fetch, key) for key in islice(ahead_of_us, 1))
                yield result
        finally:
            for future in running:
                future.cancel()


def ahead(items: Iterator[V], *, depth: int = 2) -> Iterator[V]:
    """Yield the items of an iterator that runs in a thread of its own, at most `depth` items ahead.

    For an API whose next page is known from the page before: it is fetched while this one is worked on. An error
    is raised at its place. The iterator is closed when this one is.
    """
    ready: queue.Queue[tuple[V | None, BaseException | None, bool]] = queue.Queue(depth)
    ended = threading.Event()

    def offer(item: V | None, error: BaseException | None, last: bool) -> None:
        while not ended.is_set():
            try:
                return ready.put((item, error, last), timeout=0.1)
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                offer(item, None, False)
                if ended.is_set():
                    break
        except BaseException as error:  # carried over to the thread that reads
            offer(None, error, True)
        else:
            offer(None, None, True)
        finally:
            close = getattr(items, "close", None)
            if close:
                close()

    # A daemon, so that a long wait for a vendor does not keep a program alive that was told to end.
    thread = threading.Thread(target=run, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # only the last entry has none
    finally:
        ended.set()
        # So that whoever closes the connection next does not close it under a request.
        thread.join(timeout=1)
