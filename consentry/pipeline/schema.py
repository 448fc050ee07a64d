"""The JSON Schema of job files, for completion and checks in an editor."""

from __future__ import annotations

import json

from consentry.connectors.registry import connectors
from consentry.pipeline.job import Job


def job_schema() -> str:
    """Return the schema (JSON Schema 2020-12) with every installed connector's settings among its definitions."""
    schema = Job.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "consentry job"
    for name, kind in connectors().items():
        schema.setdefault("$defs", {})[f"connection_{name}"] = kind.Config.model_json_schema()
    return json.dumps(schema, indent=2, sort_keys=True)
