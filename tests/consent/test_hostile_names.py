"""Names of a policy become parts of queries and paths: what cannot be a name is refused; keys leave by no side door."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from consent_town import POLICY, keyring, policy

from consentry.errors import ConfigError

HOSTILE = [
    'x"; DROP TABLE ops.decision; --',
    "x' OR '1'='1",
    "../../etc/passwd",
    "a/b",
    "..",
    "",
    "x\\u0000",
    "Ünïcode",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["      notes:", "  residence_field", "  mailer:", "  newsletter:"])
def test_t69_t70_what_is_no_plain_name_is_refused(tmp_path: Path, name: str, place: str) -> None:
    quoted = '"' + name.replace('"', '\\"') + '"'
    if place == "  residence_field":
        text = POLICY + f"residence: {{field: {quoted}, regimes: {{us: [US]}}}}\n"
    else:
        indent = place[: len(place) - len(place.lstrip())]
        text = POLICY.replace(f"\n{place}", f"\n{indent}{quoted}:", 1)
    with pytest.raises(ConfigError, match=r"policy\.yaml"):
        policy(tmp_path, text)


def test_t68_keys_are_not_pickled_copied_or_shown() -> None:
    ring = keyring()
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            attempt(ring)
    assert bytes(range(1, 33)).hex() not in repr(ring) + str(vars(ring).keys())
