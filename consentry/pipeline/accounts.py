"""Which blocks of a job speak for one and the same account: they share its quota and its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, SecretStr

from consentry.pipeline.job import Job


def account_of(job: Job, settings: Mapping[str, BaseModel], key: str) -> str:
    """Return the name of a block's account: that of the first block of its type with the same secrets.

    key: `sources.<name>` or `destinations.<name>`; settings: the bound `connection:` blocks by that key. A block
    without a secret has an account of its own.
    """
    types = {f"sources.{name}": block.type for name, block in job.sources.items()}
    types |= {f"destinations.{name}": block.type for name, block in job.destinations.items()}
    mine = frozenset(_secrets(settings[key]))
    for other, type_ in types.items():
        if mine and type_ == types[key] and other in settings and frozenset(_secrets(settings[other])) == mine:
            return other.partition(".")[2]
    return key.partition(".")[2]


def _secrets(settings: BaseModel) -> Iterator[tuple[str, str]]:
    for name, value in settings:
        if isinstance(value, SecretStr):
            yield name, value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from _secrets(value)
