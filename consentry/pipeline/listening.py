"""Take consent events in over HTTP while a job runs: what somebody withdraws there holds for the next batch.

    POST /consents    one event or a list of events, as JSON with the columns of a consent stream
    POST /signals/<type>    the same with what a platform sent in `payload`

Every message is signed (`consentry.consent.signature`); one that is not changes nothing and learns nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from consentry.consent.ledger import Row
from consentry.consent.signals.read import KINDS, read_signal
from consentry.consent.signals.rows import SignalBlock
from consentry.consent.signature import HEADER, is_signed
from consentry.errors import ConsentryError
from consentry.pipeline.load import Loaded
from consentry.pipeline.over_http import body_of, refused
from consentry.pipeline.privacy import ledger_of
from consentry.pipeline.shared_secret import shared_secret

MAX_BODY = 1_000_000
MAX_EVENTS = 1_000


def listener(loaded: Loaded, *, variable: str) -> Starlette:
    """Return the application; variable: the environment variable with the secret that messages are signed with.

    Raises StopRun when there is no secret, or one that can be guessed.
    """
    secret = shared_secret(variable)
    # What keys there are shows now, and not with the first message.
    with ledger_of(loaded):
        pass

    async def take(request: Request) -> Response:
        body = await body_of(request, MAX_BODY)
        if body is None:
            return refused(413, "too_large", f"A message has at most {MAX_BODY:,} bytes.")
        if not is_signed(secret, body, request.headers.get(HEADER, ""), now=time.time()):
            return refused(401, "not_signed", f"The header {HEADER} is missing, wrong or older than five minutes.")
        return await run_in_threadpool(_taken, loaded, body, request.path_params.get("kind"))

    paths = ("/consents", "/signals/{kind}")
    return Starlette(routes=[Route(path, take, methods=["POST"]) for path in paths])


def _taken(loaded: Loaded, body: bytes, kind: str | None) -> Response:
    rows = _events(body)
    if rows is None:
        return refused(400, "not_read", f"A message is one JSON object, or a list of at most {MAX_EVENTS:,}.")
    if kind is not None and kind not in KINDS:
        return refused(404, "unknown_signal", f"There is no signal of that name. There are: {', '.join(KINDS)}.")
    try:
        with ledger_of(loaded) as ledger:
            found = ledger.record(_decoded(rows, kind, loaded), policy=loaded.policy)
    except ConsentryError as error:
        return refused(503, error.code, "The ledger cannot be written now. Send the message again.")
    return JSONResponse(asdict(found))


def _decoded(rows: Iterable[Mapping[str, object]], kind: str | None, loaded: Loaded) -> Iterator[Row]:
    if kind is None:
        yield from rows
        return
    block = SignalBlock.model_validate({"type": kind})
    for row in rows:
        yield from read_signal(row, block, loaded.policy)


# JSON holds anything until it has been looked at.
def _events(body: bytes) -> list[dict[str, Any]] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    rows = found if isinstance(found, list) else [found]
    return rows if 0 < len(rows) <= MAX_EVENTS and all(isinstance(row, dict) for row in rows) else None
