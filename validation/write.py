"""Write a contract out as YAML, so that reading it again gives an equal contract."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from consentry.errors import ConfigError
from consentry.validation.contract import Contract

# What other readers of YAML, ours among them, would not take as the text that it is.
_READ_AS_BOOLEAN: Final = re.compile(r"(?i:yes|no|on|off|y|n)")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "'" if _READ_AS_BOOLEAN.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def contract_text(contract: Contract) -> str:
    """Return a contract as YAML.

    Raises ConfigError when it holds a check that has no name to write down (a lambda of a Python class), or text
    that the reader would take for a reference to the environment.
    """
    if contract.unwritten:
        listed = ", ".join(contract.unwritten)
        remedy = "Register it under the entry point consentry.checks, then use it by name."
        raise ConfigError(f"The contract {contract.name} has checks that are Python code alone: {listed}. {remedy}")
    plain = _plain(contract.source)
    plain.setdefault("name", contract.name)
    return yaml_text(plain)


# The content of a contract file is plain YAML data.
def yaml_text(content: dict[str, Any]) -> str:
    """Return the content of a contract file as YAML that our reader takes as it is meant."""
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    if "${" in text:
        raise ConfigError("The contract holds '${', which would be read as a variable.")
    return text


def write_contract(contract: Contract, path: Path) -> None:
    """Write a contract to a file; see `contract_text`."""
    path.write_text(contract_text(contract), encoding="utf-8")


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items() if item is not None or key == "value"}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case str() | bool() | int() | float() | None:
            return value
        case _:
            return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
