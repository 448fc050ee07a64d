"""Where the next page of a declared API is: what each way of paging makes of an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from consentry.connectors.http import Answer, HttpClient
from consentry.connectors.rest_config import CursorPages, LinkHeader, NextUrl, Offsets, PageNumbers, Paging
from consentry.errors import SourceFailed

# A place among the pages, plain JSON: `params` to add, or the `path` and all the `params` of a link.
Place = dict[str, Any]
_LINK = re.compile(r'<([^>]*)>\s*((?:;[^,<]*(?:"[^"]*")?)*)')


def first_place(paging: Paging) -> Place:
    """Return where a stream begins."""
    match paging:
        case PageNumbers():
            return _numbered(paging, paging.first)
        case Offsets():
            return _shifted(paging, 0, paging.size)
    return {"params": {}}


def next_place(paging: Paging, place: Place, answer: Answer, count: int, http: HttpClient) -> Place | None:
    """Return where the page behind this one is, None when this was the last. count: the records of this page.

    Raises HttpFailed when a link leads to another host.
    """
    link: object = None
    match paging:
        case PageNumbers():
            return _numbered(paging, place["page"] + 1) if count >= paging.size else None
        case Offsets():
            if count < place["size"]:
                return None
            # One record of this page comes again, to see that nothing moved.
            return _shifted(paging, place["offset"] + count - 1, paging.size + 1)
        case CursorPages():
            following = found_at(answer.body, paging.at)
            ended = paging.more is not None and not found_at(answer.body, paging.more)
            return None if ended or following in (None, "") else {"params": {paging.param: following}}
        case NextUrl():
            link = found_at(answer.body, paging.at)
        case LinkHeader():
            link = _linked(answer.headers.get("link", ""))
        case _:
            return None
    if not link:
        return None
    path, params = http.next_path(str(link))
    return {"path": path, "params": params}


def other_places(paging: Paging, answer: Answer, place: Place) -> Iterator[Place] | None:
    """Return all places behind the given one when the answer says how many records there are, else None."""
    if not isinstance(paging, PageNumbers | Offsets) or paging.total is None:
        return None
    total = found_at(answer.body, paging.total)
    if not isinstance(total, int):
        raise SourceFailed(
            f"An answer has no number at {paging.total!r}. Check 'total' of the paging.", code="no_total"
        )
    if isinstance(paging, PageNumbers):
        last = paging.first + -(-total // paging.size) - 1
        return (_numbered(paging, page) for page in range(place["page"] + 1, last + 1))
    return (_shifted(paging, n, paging.size) for n in range(place["offset"] + paging.size, total, paging.size))


def found_at(body: Any, path: str) -> Any:
    """Return the value at a dotted path of a JSON body, None when there is none."""
    for part in path.split(".") if path else ():
        if isinstance(body, Mapping):
            body = body.get(part)
        elif isinstance(body, list) and part.isdecimal() and int(part) < len(body):
            body = body[int(part)]
        else:
            return None
    return body


def _numbered(paging: PageNumbers, page: int) -> Place:
    sized = {paging.size_param: paging.size} if paging.size_param else {}
    return {"page": page, "params": {paging.param: page, **sized}}


def _shifted(paging: Offsets, offset: int, size: int) -> Place:
    sized = {paging.size_param: size} if paging.size_param else {}
    return {"offset": offset, "size": size if sized else paging.size, "params": {paging.param: offset, **sized}}


def _linked(header: str) -> str | None:
    for target, about in _LINK.findall(header):
        if re.search(r';\s*rel\s*=\s*"?[^"]*\bnext\b', about):
            return str(target)
    return None
