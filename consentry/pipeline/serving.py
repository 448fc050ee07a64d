"""Answer over HTTP whether a sync may know one person as a member of its segment.

    GET /people/<person id>/syncs/<sync>    with the header `Authorization: Bearer <secret>`

Whoever is no member, is unknown, refuses or is held out gets one and the same answer, so that it gives no reason away.
"""

from __future__ import annotations

import hmac

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from consentry.consent.instants import written
from consentry.errors import ConsentryError, StopRun
from consentry.pipeline.lookup import Lookup
from consentry.pipeline.over_http import refused
from consentry.pipeline.shared_secret import shared_secret

RETRY_AFTER_S = 10
# The answers of these errors; with any other the state of the job cannot be read now.
_STATUS = {"unknown_sync": 404, "small_change": 403}
_UNKEPT = {"Cache-Control": "no-store"}


def lookup_server(lookup: Lookup, *, variable: str) -> Starlette:
    """Return the application; variable: the environment variable with the secret that whoever asks has to send.

    Raises StopRun when there is no secret, or one that can be guessed, or for keys that are not the job's.
    """
    expected = b"Bearer " + shared_secret(variable)
    # What is wrong shows now, and not with the first question; a run that goes on is nothing wrong.
    try:
        lookup.published()
    except StopRun as stopped:
        if stopped.code != "warehouse_locked":
            raise

    async def tell(request: Request) -> Response:
        # Headers are bytes; Starlette reads them as Latin-1, which loses none.
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode("latin-1"), expected):
            sentence = "The header Authorization does not hold the secret, as 'Bearer <secret>'."
            return refused(401, "not_allowed", sentence, **_UNKEPT, **{"WWW-Authenticate": "Bearer"})
        return await run_in_threadpool(_told, lookup, **request.path_params)

    return Starlette(routes=[Route("/people/{person}/syncs/{sync}", tell, methods=["GET"])])


def _told(lookup: Lookup, person: str, sync: str) -> Response:
    try:
        found = lookup.answer(person, sync)
    except ConsentryError as error:
        if error.code in _STATUS:
            return refused(_STATUS[error.code], error.code, str(error), **_UNKEPT)
        sentence = "What the last run left cannot be read now, as while the job is running. Ask again later."
        return refused(503, error.code, sentence, **_UNKEPT, **{"Retry-After": str(RETRY_AFTER_S)})
    told = {
        "sync": found.sync,
        "segment": found.segment,
        "member": found.member,
        "since": written(found.since) if found.since else None,
        "evaluated_at": written(found.evaluated_at),
    }
    return JSONResponse(told, headers=_UNKEPT)
