"""What the servers of a job share: a body of bounded size, and one shape of whatever is refused."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response


async def body_of(request: Request, limit: int) -> bytes | None:
    """Return the body of a request, None when it is longer than `limit` bytes or breaks off."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > limit:
                return None
    except ClientDisconnect:
        return None
    return bytes(body)


def refused(status: int, code: str, sentence: str, **headers: str) -> Response:
    """Answer with a machine-readable code and a sentence that quotes nothing of the request."""
    return JSONResponse({"code": code, "message": sentence}, status, headers)
