"""Fixtures of the consent tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from consent_signals import SIGNALS
from consent_town import Town, policy, towns

from consentry.consent.policy import Policy

# How long an example takes is the machine's business; laws are about answers.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """An empty town."""
    yield from towns(tmp_path)


@pytest.fixture
def ours(tmp_path: Path) -> Policy:
    """A policy with the aliases of every platform."""
    return policy(tmp_path, SIGNALS)
