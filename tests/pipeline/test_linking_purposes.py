"""What a source says reaches no destination for whose purpose its records may not be linked."""

from __future__ import annotations

from copy import deepcopy

from consentry.identity.golden_for import golden_rows
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.pipeline.stewarding import stewarding
from tests.conftest import TinyJob


def test_a_destination_gets_no_field_of_a_record_that_may_not_be_linked_for_it(tiny: TinyJob) -> None:
    tiny.write_people(range(4))
    forum = deepcopy(tiny.spec["sources"]["crm"])
    forum["streams"]["people"]["options"]["path"] = "forum.csv"
    tiny.spec["sources"]["forum"] = forum | {"trust": 5}
    people = (tiny.folder / "people.csv").read_text()
    (tiny.folder / "forum.csv").write_text(people.replace("CanaryBryn", "CanaryBrynmor"))
    tiny.spec["identity"] = {"linking": {"purposes": {"forum": ["profiling"]}}}
    tiny.write()

    run(make_plan(load_job(tiny.path)), Silent())
    sent = tiny.members_file.read_text()
    assert "CanaryBryn" in sent and "CanaryBrynmor" not in sent
    with stewarding(load_job(tiny.path)) as context:
        names = {
            purpose: sorted(
                context.warehouse.sql(f"SELECT given_name FROM {golden_rows(context.warehouse, [purpose])}")[
                    "given_name"
                ].to_pylist()
            )
            for purpose in ("profiling", "news")
        }
    assert "CanaryBrynmor" in names["profiling"] and "CanaryBrynmor" not in names["news"]
