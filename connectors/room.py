"""How much of a quota is left, as the headers of an answer say.

What is declared for an account is what its vendor documents; others call the same account too, and plans differ.
So the client also listens: when an answer says that nothing is left, it waits before the next call instead of
being refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

# How many seconds to wait before the next call of the account, given an answer's headers and the Unix time.
Room = Callable[[Mapping[str, str], float], float]

# (what is left, when it is full again, whether that is seconds from now, milliseconds, or a Unix time).
_WINDOWS = (
    ("ratelimit-remaining", "ratelimit-reset"),  # IETF draft ratelimit-headers; Klaviyo, Braze
    ("x-ratelimit-remaining", "x-ratelimit-reset"),  # Intercom (Unix time), Pipedrive (seconds)
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
)
# A day's budget that is used up comes back at midnight of somewhere; nobody says when.
_DAILY = ("x-hubspot-ratelimit-daily-remaining", "x-daily-requests-left")
DAY_WAIT = 3600.0
# A reset that lies further away than this is a Unix time, not a number of seconds.
_UNIX = 1e9


def hold_off(headers: Mapping[str, str], now: float) -> float:
    """Return how many seconds to wait before the next call of the account; 0 when something is left.

    headers: names in lower case. now: Unix seconds.
    """
    wait = DAY_WAIT if any(_number(headers.get(name)) == 0 for name in _DAILY) else 0.0
    for left, reset in _WINDOWS:
        if _number(headers.get(left)) == 0:
            at = _number(headers.get(reset)) or 0.0
            wait = max(wait, at - now if at > _UNIX else at)
    # HubSpot tells the length of its window, not when the window ends (usage guidelines, November 2026).
    if _number(headers.get("x-hubspot-ratelimit-remaining")) == 0:
        wait = max(wait, (_number(headers.get("x-hubspot-ratelimit-interval-milliseconds")) or 0.0) / 1000)
    return wait


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
