"""Train the model by which a job recognises people who share no identifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consentry.errors import ConfigError
from consentry.identity.candidates import STAGED
from consentry.identity.likeness import RECORDS, stage_customers
from consentry.identity.model import save
from consentry.identity.similar_config import SimilarRules
from consentry.pipeline.load import Loaded
from consentry.pipeline.stewarding import stewarding

MODEL = "identity-model.json"


# Returns plain JSON.
def train_model(loaded: Loaded, *, seed: int, out: Path | None = None) -> dict[str, Any]:
    """Train a model on the customer records of the last run, and write it to a file, by default in the state folder.

    Raises ConfigError when the job has not run, and when the file is there already.
    """
    from consentry.identity.training import train

    path = out or loaded.state / MODEL
    if path.exists():
        raise ConfigError(
            f"{path} is there already; a model that is in use is not overwritten. Name another with --out."
        )
    rules = loaded.job.identity.similar or SimilarRules()
    with stewarding(loaded) as context:
        columns, query = stage_customers(context.warehouse, rules)
        trained = train(context.warehouse, rules, columns, query, seed=seed)
        for table in (*STAGED, RECORDS):
            context.warehouse.drop(table)
    save(trained.model, path, about={"seed": seed, "records": trained.records, "passes": list(trained.passes)})
    return {
        "model": str(path),
        "version": trained.model.version,
        "records": trained.records,
        "passes": list(trained.passes),
        "compared": [comparison.name for comparison in trained.model.comparisons],
    }
