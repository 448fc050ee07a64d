"""Fill `${VAR}` and `${VAR:-default}` from the environment."""

from __future__ import annotations

import os
import re

from consentry.model.names import did_you_mean

_REFERENCE = re.compile(r"\$\{([^}:]*)(?::-([^}]*))?\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


# What the simulators accept is no secret, and nothing else accepts it.
_SANDBOX_DEFAULT = "sandbox-"


def has_secret_default(text: str) -> bool:
    """Tell whether a reference brings a default that would be a secret in plain text."""
    return any(default and not default.startswith(_SANDBOX_DEFAULT) for _, default in _REFERENCE.findall(text))


def interpolate(text: str, env: dict[str, str] | None = None) -> tuple[str, str | None]:
    """Return the text with its references filled, and the sentence of the first fault, if there is one.

    An empty variable counts as unset: a deployment that forgot a value must not pass for one that gave it.
    """
    variables = dict(os.environ) if env is None else env
    problem: str | None = None

    def fill(match: re.Match[str]) -> str:
        nonlocal problem
        name, default = match.group(1), match.group(2)
        if not _NAME.fullmatch(name):
            problem = problem or f"${{{name}}} does not name an environment variable."
            return ""
        if variables.get(name):
            return variables[name]
        if default is None:
            hint = did_you_mean(name, variables)
            problem = problem or f"The environment variable {name} is not set{hint}. Set it, then run again."
            return ""
        return default

    filled = _REFERENCE.sub(fill, text)
    if problem is None and "${" in _REFERENCE.sub("", text):
        problem = "A '${' has no closing '}'."
    return filled, problem
