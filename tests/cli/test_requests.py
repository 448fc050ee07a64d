"""`consentry requests` and `consentry hold` on a small job."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli, told
from tests.conftest import TinyJob, email

WHO = ("--by", "email", "--value", email(3))


def test_a_request_is_noted_listed_and_answered(cli: Cli, ran: TinyJob) -> None:
    made = told(cli("requests", "add", ran.path, "--kind", "access", "--manner", "form", *WHO, "-o", "json"))
    assert told(cli("requests", "list", ran.path, "-o", "json"))["open"] == 1
    assert "1 open, 0 due within 7 days, 0 overdue." in cli("requests", "list", ran.path)[1]
    extended = cli("requests", "extend", ran.path, made["request_id"], "--because", "many systems")
    assert extended[0] == 0, extended
    done = ("requests", "answer", ran.path, made["request_id"], "--response", "fulfilled")
    assert cli(*done)[0] == 0
    assert "no open request" in cli(*done)[2]
    assert told(cli("requests", "purge", ran.path, "-o", "json")) == {"purged": 0}
    log = "".join(path.read_text() for path in (ran.folder / "state" / "audit").glob("*.jsonl"))
    assert [log.count(f'"request.{word}"') for word in ("received", "extended", "answered")] == [1, 1, 1]


def test_l15_what_is_held_is_not_erased_and_the_refusal_says_why(cli: Cli, ran: TinyJob) -> None:
    placed = ("--reason", "case 12/2026", "--placed-by", "Dana")
    hold = told(cli("hold", "add", ran.path, "--by", "email", "--value", email(3).upper(), *placed, "-o", "json"))
    listed = ran.folder / "listed.json"
    listed.write_text(json.dumps({"email": [email(3)]}))
    erasures = [
        ("erase", ran.path, *WHO, "--approved-by", "Dana"),
        ("quarantine", "erase", ran.path, "--identifiers", listed),
    ]
    for erasure in erasures:
        code, _, err = cli(*erasure)
        assert code == 5 and hold["hold_id"] in err and "case 12/2026" in err
    assert [one["reason"] for one in told(cli("hold", "list", ran.path, "-o", "json"))["holds"]] == ["case 12/2026"]
    assert cli("hold", "end", ran.path, hold["hold_id"], "--ended-by", "Dana")[0] == 0
    assert [cli(*erasure)[0] for erasure in erasures] == [0, 0]
    assert "Nothing is held" in cli("hold", "list", ran.path)[1]
    assert "There is no hold" in cli("hold", "end", ran.path, hold["hold_id"], "--ended-by", "Dana")[2]
