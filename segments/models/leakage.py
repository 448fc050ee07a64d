"""What a model may not look at: whatever knows of the time after its cut-off, or of what it is to foretell.

Events carry their time, so that aggregates of them can be taken as of any cut-off. Attributes have no history: what a
profile says today may have been written after the cut-off. A model that foretells may therefore use only attributes
that are named `stable`.
"""

from __future__ import annotations

from collections.abc import Collection

from consentry.segments import ast
from consentry.segments.faults import RuleFault
from consentry.segments.tables import attributes_of

_LATE = ("model", "experiment")


def leaks_of_feature(value: ast.Value, stable: Collection[str], *, foretells: bool) -> list[RuleFault]:
    """Return why a value cannot be a feature."""
    if isinstance(value, ast.Literal | ast.Ago | ast.Percentile):
        return [RuleFault(value.at, "this is the same for everyone, so that nothing can be learnt from it.")]
    return _leaks(value, stable, foretells=foretells)


def leaks_of_rule(rule: ast.Rule, stable: Collection[str], *, foretells: bool) -> list[RuleFault]:
    """Return why a rule cannot say whom a model is about."""
    return _leaks(rule, stable, foretells=foretells)


def target_faults(rule: ast.Rule) -> list[RuleFault]:
    """Return why a rule cannot be foretold: it has to be about events, whose time is known."""
    found = _leaks(rule, (), foretells=False)
    for node, _ in ast.walk(rule):
        if isinstance(node, ast.Name) and node.name in attributes_of([rule]):
            found.append(RuleFault(node.at, "a target looks at events after the cut-off; attributes have no history."))
        elif isinstance(node, ast.Score):
            found.append(RuleFault(node.at, "a target looks at events after the cut-off, not at scores."))
    if not any(isinstance(node, ast.Aggregate | ast.Sequence) for node, _ in ast.walk(rule)):
        found.append(RuleFault(rule.at, "a target looks at events after the cut-off, such as count(purchase) == 0."))
    return found


def _leaks(node: ast.Node, stable: Collection[str], *, foretells: bool) -> list[RuleFault]:
    found: list[RuleFault] = []
    attributes = attributes_of([node])
    for part, _ in ast.walk(node):
        match part:
            case ast.InSegment():
                found.append(RuleFault(part.at, "members are known as of the last run and not as of a cut-off."))
            case ast.Score(family) if family in _LATE:
                found.append(RuleFault(part.at, f"what {family}s say was learnt after the cut-off."))
            case ast.Name(name) if foretells and name in attributes and name not in stable:
                sentence = (
                    f"the profile keeps no history of {name!r}, which may know what happened after the cut-off. List it"
                    " under 'stable' if it never changes with what people do, or use events."
                )
                found.append(RuleFault(part.at, sentence))
    return found
