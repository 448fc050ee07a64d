"""A job whose keys a service keeps: it runs, rotates, and stops before anything when the service is silent."""

from __future__ import annotations

import json
import re

import pytest

from consentry.audit import verify
from consentry.consent.sealed import SubjectKeys
from consentry.errors import ConfigError, SkipRecord, StopRun
from consentry.pipeline.keyrings import open_tokens, read_keys, rotate_keys
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.store import Store
from tests.conftest import GIVEN, PEOPLE, TinyJob
from tests.consent.key_simulators import TOKEN, key_server

pytest.importorskip("hvac", reason="needs the extra `vault`")


@pytest.mark.slow
def test_a_job_with_keys_in_vault_runs_rotates_and_stops_without_it(
    tiny: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with key_server() as served:
        tiny.spec["keys"] = {
            "provider": "vault", "path": "keys.json", "create": True, "url": served.url, "key": "consentry"
        }  # fmt: skip
        loaded = load_job(tiny.write())
        first = run(make_plan(loaded), Silent())
        store = Store.in_file(loaded.state / "control.db")
        sealed = SubjectKeys(store, read_keys(loaded.job.keys, loaded.state)).encrypt("someone", b"a note")
        told = rotate_keys(loaded)
        assert (told["active"], told["accepted"], told["rewrapped"]) == (2, [1, 2], 1)
        ring = read_keys(loaded.job.keys, loaded.state)
        assert SubjectKeys(store, ring).decrypt("someone", sealed) == b"a note"
        store.close()
        # Old consents, suppressions and what was sent are known under the new key too.
        again = run(make_plan(loaded), Silent())
        assert (first["syncs"]["adults"]["adds"], again["syncs"]["adults"]["removes"]) == (PEOPLE, 0)
        served.down = True
        with pytest.raises(StopRun) as caught:
            run(make_plan(loaded), Silent())
        assert caught.value.code == "keys_unreachable"
    log = loaded.state / "audit"
    actions = [
        json.loads(line)["action"] for path in sorted(log.glob("*.jsonl")) for line in path.read_text().splitlines()
    ]
    assert "key.rotated" in actions and verify(log).ok


def test_reversible_tokens_of_a_sealed_field_are_opened_and_the_log_keeps_that(tiny: TinyJob) -> None:
    tiny.policy["destinations"]["store"]["fields"]["given_name"] = {"transform": "seal"}
    loaded = load_job(tiny.write())
    run(make_plan(loaded), Silent())
    tokens = re.findall(r"s1\.1\.[a-z2-7]+", tiny.members_file.read_text())
    assert len(tokens) == PEOPLE and "Canary" not in tiny.members_file.read_text()
    assert set(open_tokens(loaded, "store", "given_name", tokens)) == {f"Canary{name}" for name in GIVEN}
    with pytest.raises(ConfigError, match="seals no field 'email'"):
        open_tokens(loaded, "store", "email", tokens)
    with pytest.raises(SkipRecord):
        open_tokens(loaded, "store", "given_name", ["s1.1.aaaa"])
    log = "".join(path.read_text() for path in (loaded.state / "audit").glob("*.jsonl"))
    assert '"action":"token.opened"' in log and "Canary" not in log
