"""Windows of time that overlap, so that what becomes visible late is not lost, and what was seen is not repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

# More than this is not carried along; rows of the overlap then come twice, which their key mends.
SEEN_MAX = 20_000
# A modified date as its source sorts it: ISO text of one form, or seconds.
Stamp = TypeVar("Stamp", str, int)


@dataclass(slots=True)
class Overlap(Generic[Stamp]):
    """What the read before saw of this window, and what the read after must know of it.

    begin: from which stamp on the next window sees records again. seen: {id: stamp} of the read before.
    fresh: the same for the read after; it belongs into every page's state.
    """

    begin: Stamp
    seen: Mapping[str, Stamp | None] = field(default_factory=dict)
    fresh: dict[str, Stamp | None] = field(default_factory=dict)

    def is_new(self, id: str, stamp: Stamp | None) -> bool:
        """Tell whether the record is not known from the read before, and note it for the read after."""
        if (stamp is None or stamp >= self.begin) and len(self.fresh) < SEEN_MAX:
            self.fresh[id] = stamp
        return stamp is None or self.seen.get(id) != stamp
