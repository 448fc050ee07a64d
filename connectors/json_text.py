"""Read JSON as vendors send it: text that was cut in the middle of a character is read all the same."""

from __future__ import annotations

import json
import re
from typing import Any

_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")
# Pairs of surrogates are one character when JSON has been read; what is left over is half of one.
_HALF = re.compile("[\ud800-\udfff]")


# JSON is of any shape until the connector reads it.
def read_json(raw: bytes) -> Any:
    """Return the value of a JSON text, U+FFFD in place of half characters, which no table can hold.

    Systems that count in UTF-16 cut an emoji in two where a field is full. Raises ValueError when it is not JSON.
    """
    value = json.loads(raw)
    if not _ESCAPED.search(raw):
        return value
    return json.loads(_HALF.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
