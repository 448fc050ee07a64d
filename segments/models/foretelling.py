"""Keep a model that foretells as files, and read it again."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from consentry.segments.models.classify import Foreteller
from consentry.segments.models.coding import Coding
from consentry.segments.models.estimator import library, loaded
from consentry.segments.models.registry import MODEL

ESTIMATOR = "estimator.skops"


def kept(model: Foreteller) -> bytes:
    """Return all of a model but its estimator, as JSON."""
    plain = {"coding": model.coding.plain(), "cuts": model.cuts.tolist(), "library": library()}
    return json.dumps(plain, allow_nan=False).encode()


def read_foreteller(files: Mapping[str, bytes]) -> Foreteller:
    """Read a model from its files, whose seals were checked. Raises StopRun when it cannot be used any more."""
    plain = json.loads(files[MODEL])
    estimator = loaded(files[ESTIMATOR], version=plain["library"])
    return Foreteller(Coding.read(plain["coding"]), estimator, np.asarray(plain["cuts"]))
