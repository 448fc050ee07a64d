"""What has to be said beside an explanation of an earlier instant: what of it is of now, and what disagrees."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from consentry.pipeline.earlier import names_of
from consentry.pipeline.load import Loaded
from consentry.pipeline.segmenting import Told
from consentry.pipeline.terms import Terms
from consentry.segments import ast
from consentry.segments.earlier import Earlier, names_read
from consentry.segments.past import Evaluation, Standing
from consentry.segments.segment import Segment
from consentry.segments.spell import spell_value


@dataclass(frozen=True, slots=True)
class Then:
    """The evaluation that was in force, and how the person stood to the segments, as they are defined now.

    known: what is known of the person as of then. same_rules: None when the log does not tell.
    """

    loaded: Loaded
    evaluation: Evaluation
    stood: Mapping[str, Standing]
    terms: Terms
    known: Earlier
    same_rules: bool | None

    @property
    def inside(self) -> set[str]:
        """Return the segments that the person was in."""
        return {name for name, standing in self.stood.items() if standing.member}

    @property
    def run(self) -> str:
        """Name the run by id and plan."""
        plan = f" (plan {self.terms.plan[:16]})" if self.terms.plan else ""
        return f"run {self.evaluation.run_id}{plan}"


def notes(then: Then, *, has_profile: bool) -> Iterator[str]:
    """Say what an explanation rests on: what of it is of then, and what of now."""
    if not has_profile:
        yield "There is no profile of this person now, so that no condition can be judged."
        return
    yield from _values_noted(names_of(then.loaded), then.known.of_now)
    yield "Events count up to then, whenever they came in."
    match then.same_rules:
        case True:
            yield f"The rules are those of {then.run}."
        case False:
            yield f"The rules are those of now: segments, or what rules may name, have changed since {then.run}."
        case None:
            yield f"The rules are those of now: the audit log does not tell by which {then.run} went."
    compared = set(_compared(then.loaded))
    if compared:
        logged = {*(then.terms.thresholds or ()), *(then.terms.figures or ())}
        whose = "of that run" if compared <= logged else "of the last evaluation where the log has none of that run"
        yield f"Percentiles and the figures of scores are those {whose}."


def _values_noted(names: Collection[str], of_now: Collection[str]) -> Iterator[str]:
    whose = "Attributes, and what models and experiments say, are those of"
    if names and len(of_now) == len(names):
        yield f"{whose} now: what they were then is not kept."
    elif of_now:
        listed = ", ".join(sorted(of_now))
        yield f"{whose} then, but for these, which are of now, since what they were then is not kept: {listed}."
    elif names:
        yield f"{whose} then."


def _compared(loaded: Loaded) -> Iterator[str]:
    """Yield what rules need to know of everybody, as the log names it."""
    for segment in loaded.segments:
        for node, _ in ast.walk(segment.rule) if segment.rule is not None else ():
            if isinstance(node, ast.Percentile):
                yield spell_value(node)
            elif isinstance(node, ast.Score) and loaded.catalog.scored(node):
                yield "rfm" if node.family == "rfm" else node.name


def remark(name: str, segment: Segment | None, then: Then, row: Told) -> str | None:
    """Say where a segment of then cannot be judged, or where its conditions disagree with what was published."""
    if name not in then.evaluation.segments:
        return f"The segment was not defined in {then.run}."
    if segment is None:
        return "The segment is no longer defined, so that its conditions cannot be judged."
    if row["holds"] in (None, row["member"]):
        return None
    if first := came_first(segment, then.loaded.segments, then.inside, row):
        return first
    changed = list(_may_have_changed(segment, then))
    causes = [f"{', '.join(changed[:-1])}{', or ' if changed[1:] else ''}{changed[-1]} has changed"]
    if segment.static:
        causes.append("the segment is static, so that its members were decided once and for all")
    was = "They were in it, and the rule does not hold" if row["member"] else "They were not in it, and the rule holds"
    return f"{was} by what is known now: {', or '.join(causes)}."


def _may_have_changed(segment: Segment, then: Then) -> Iterator[str]:
    if not then.same_rules:
        yield f"the rule, since {then.run}"
    read = names_read([segment.rule] if segment.rule is not None else [], then.loaded.catalog)
    for name in sorted(read & then.known.of_now):
        yield name if name in then.loaded.catalog.attributes else f"what {name} says"
    yield "what is known of events of then"


def came_first(segment: Segment, segments: Sequence[Segment], inside: Collection[str], row: Told) -> str | None:
    """Say which segment of the same group somebody is in instead, where the rule alone would have them in this one."""
    if segment.group is None or row["member"] or not row["holds"]:
        return None
    group = segment.group.group
    first = next((s.name for s in segments if s.group and s.group.group == group and s.name in inside), None)
    return None if first is None else f"The rule holds, and {first} comes first in the group {group}."
