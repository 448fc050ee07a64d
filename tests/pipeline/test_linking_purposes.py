"""What a source says reaches no destination for whose purpose its records may not be linked."""

from __future__ import annotations

import json
from copy import deepcopy

from consentry.identity.golden_for import golden_rows
from consentry.pipeline.explain import explain_plan
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.pipeline.stewarding import stewarding
from consentry.testing.memory import Audiences
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


def test_what_is_imputed_from_records_linked_for_profiling_alone_reaches_no_other_destination(tiny: TinyJob) -> None:
    tiny.write_people(range(4))
    people = tiny.folder / "people.csv"
    people.write_text(people.read_text().replace(",20,2026", ",,2026"))
    tiny.spec["identity"] = {"linking": {"purposes": {"forum": ["profiling"]}}}
    tiny.spec["sources"]["forum"] = deepcopy(tiny.spec["sources"]["crm"])
    tiny.spec["syncs"]["adults"]["fields"] = {"age": "age"}
    tiny.policy["destinations"]["store"]["fields"] = {"age": {"transform": "pass"}}
    tiny.write()
    column = {"dtype": "Int32", "nullable": True, "impute": {"method": "median"}, "serve": "imputed"}
    contract = {"name": "profile", "version": 1, "columns": {"age": column}}
    (tiny.folder / "contracts" / "profile.yaml").write_text(json.dumps(contract))

    plan = make_plan(load_job(tiny.path))
    assert not any("imputed" in sentence for sentence in explain_plan(plan)["sentences"])
    summary = run(plan, Silent())
    effects = Audiences.read(tiny.members_file).effects
    ages = sorted(str(one.fields["age"]) for one in effects if one.kind == "add")
    assert (summary["segments"], ages) == ({"adults": 4}, ["21", "22", "23", "None"])
