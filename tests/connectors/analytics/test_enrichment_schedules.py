"""Nothing is lost and nothing is paid for twice: look-ups that meet any schedule of faults, and are gone on with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_enrichment import _email, _fullcontact, _pdl, _people

from consentry.connectors.base import Enriches
from consentry.errors import ConsentryError
from consentry.testing.sandbox import Sandbox
from tests.connectors.nothing_is_lost import FAULTS

PEOPLE = 25


def _looked_up(vendor: Enriches, known: dict[str, str]) -> bool:
    """Ask for those who are not known yet, as the pipeline does; tell whether it came to the end."""
    try:
        for page in vendor.enrich(_people(number for number in range(PEOPLE) if str(number) not in known)):
            assert not known.keys() & set(page.records["person_id"].to_pylist())
            known |= {row["person_id"]: row["status"] for row in page.records.to_pylist()}
    except ConsentryError:
        return False
    return True


@pytest.mark.parametrize("name", ["people_data_labs", "fullcontact"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 6)), min_size=1, max_size=4))
def test_whatever_goes_wrong_everybody_is_answered_once_and_paid_for_once(
    schedule: list[tuple[dict[str, Any], int]], name: str, sandbox: Sandbox
) -> None:
    sandbox.reset()
    simulator: Any = sandbox.vendors[name]  # of a vendor's own class
    simulator.known = {_email(number): {"title": "gardener"} for number in range(0, PEOPLE, 2)}
    make = _pdl if name == "people_data_labs" else _fullcontact
    known: dict[str, str] = {}
    for fault, after in schedule:
        sandbox.fault(match=f"/{name}/", after=after, **fault)
        ended = _looked_up(make(sandbox), known)
        sandbox.clear_faults()
        if ended:
            break
    else:
        assert _looked_up(make(sandbox), known)
    assert set(known) == {str(number) for number in range(PEOPLE)}
    answered = {number: status for number, status in known.items() if status != "lost"}
    assert answered == {number: "none" if int(number) % 2 else "found" for number in answered}
    # What was lost may have been paid for; nobody is asked for a second time.
    assert len(simulator.asked) == len(set(simulator.asked))
    assert simulator.billed <= sum(status in ("found", "lost") for status in known.values())
