"""Every key that a job file may have is explained somewhere in docs/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from consentry.delivery.config import Guards, Sync
from consentry.pipeline import job

DOCS = Path(__file__).parents[2] / "docs"
MODELS = [
    model
    for model in (*vars(job).values(), Sync, Guards)
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ != "consentry.config.bind"
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_explained(model: type[BaseModel]) -> None:
    text = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    missing = [name for name in model.model_fields if not re.search(rf"\b{name}\b", text)]
    assert missing == []
