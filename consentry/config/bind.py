"""Bind a document to a frozen model; every fault gets its file, line and nearest right spelling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from consentry.config.document import Document, Where
from consentry.config.faults import Faults
from consentry.model.names import did_you_mean, is_name


class Model(BaseModel):
    """Base of every configuration block: frozen, and an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=False)


def _as_name(value: object) -> object:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError("a name has lower-case letters, digits and '_', begins with a letter, and is at most 63 long")
    return value


Name = Annotated[str, BeforeValidator(_as_name)]
M = TypeVar("M", bound=BaseModel)


def bind(document: Document, model: type[M], faults: Faults) -> M | None:
    """Give the document its type, or None with every fault noted.

    A SecretStr written out in the file is a fault: secrets come from the environment.
    """
    for where in _literal_secrets(document, model):
        faults.add(
            document.path,
            document.line(where),
            f"{_dotted(where)} holds a secret in plain text. Write ${{VARIABLE}} and set it in the environment.",
        )
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            where = _place(document, detail["loc"])
            faults.add(document.path, document.line(where), _sentence(detail, where, document, model))
    return None


def _place(document: Document, loc: Iterable[str | int]) -> Where:
    """Drop the steps that pydantic adds for unions and the like, which are not in the file."""
    where: Where = ()
    for step in loc:
        if document.has((*where, step)):
            where = (*where, step)
    return where


def _sentence(detail: ErrorDetails, where: Where, document: Document, model: type[BaseModel]) -> str:
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    match detail["type"]:
        case "extra_forbidden":
            known = _keys_at(model, where[:-1])
            listed = f" The keys here are: {', '.join(sorted(known))}." if known else ""
            return f"The key {last!r} is not known here{did_you_mean(last, known) or '.'}{listed}"
        case "missing":
            return f"{_dotted(where) or 'The file'} has no {last!r}. Add it."
        case "value_error":
            return f"{_dotted(where)}: {detail['msg'].removeprefix('Value error, ')}."
        case _:
            return f"{_dotted(where)}: {detail['msg'][:1].lower()}{detail['msg'][1:]}."


def _dotted(where: Where) -> str:
    return ".".join(str(step) for step in where)


def _keys_at(model: type[BaseModel], where: Where) -> set[str]:
    models = [found for annotation in _annotations_at(model, where) for found in _models_in(annotation)]
    return {info.alias or name for found in models for name, info in found.model_fields.items()}


def _literal_secrets(document: Document, model: type[BaseModel]) -> Iterator[Where]:
    for where in sorted(document.literals(), key=document.line):
        if where and any(_holds_secret(annotation) for annotation in _annotations_at(model, where)):
            yield where


# pydantic's annotations are walked as values of any type: there is no common class for them.
def _annotations_at(model: type[BaseModel], where: Where) -> list[Any]:
    current: list[Any] = [model]
    for step in where:
        current = [inner for outer in current for inner in _step(outer, step)]
    return current


def _step(annotation: Any, step: str | int) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [f.annotation for name, f in annotation.model_fields.items() if step in (name, f.alias)]
    if get_origin(annotation) in (dict, list, tuple):
        return [get_args(annotation)[-1]]
    return [inner for part in get_args(annotation) for inner in _step(part, step)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (dict, list, tuple):
        return []
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(part) for part in get_args(annotation))
