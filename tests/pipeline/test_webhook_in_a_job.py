"""A webhook hears who joined an audience, and then of changes alone."""

from __future__ import annotations

import json

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.webhook import SECRET, Webhook
from tests.conftest import TinyJob, email, person


def test_webhooks_on_change_tell_who_joined_and_who_left(tiny: TinyJob) -> None:
    with Sandbox() as sandbox:
        receiver = sandbox.vendors["webhook"]
        assert isinstance(receiver, Webhook)
        url = f"{sandbox.url('webhook')}/members"
        tiny.spec["destinations"]["store"] = {
            "type": "webhook",
            "connection": {"base_url": url, "secret": f"${{HOOK_SECRET:-{SECRET}}}"},
        }
        tiny.write()
        tiny.write_people(range(6))
        run(make_plan(load_job(tiny.path)), Silent())
        assert heard(receiver) == ({email(n) for n in range(6)}, set())

        people = tiny.folder / "people.csv"
        people.write_text(people.read_text().replace(f",{person(5)['age']},", ",17,"))
        tiny.write_consents({2: "withdrawn"}, day=2)
        run(make_plan(load_job(tiny.path)), Silent())
        assert heard(receiver) == (set(), {email(2), email(5)})


def heard(receiver: Webhook) -> tuple[set[str], set[str]]:
    """Return who joined and who left by the requests since the last look."""
    bodies = [json.loads(body) for body in receiver.taken.values()]
    receiver.taken.clear()
    joined = {one["identifiers"]["email"] for body in bodies for one in body["join"]}
    return joined, {one["identifiers"]["email"] for body in bodies for one in body["leave"]}
