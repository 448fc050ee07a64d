"""A policy that is not perfectly clear is refused, with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from consent_town import POLICY, policy

from consentry.config import Faults
from consentry.consent.duration import Duration
from consentry.consent.policy import read_policy


def faults_of(folder: Path, text: str | bytes) -> str:
    path = folder / "policy.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    faults = Faults()
    assert read_policy(path, faults) is None
    assert faults.found
    return "\n".join(faults.found)


def changed(old: str, new: str) -> str:
    assert old in POLICY
    return POLICY.replace(old, new, 1)


def line_of(text: str, part: str) -> str:
    return f"policy.yaml:{text[: text.index(part)].count(chr(10)) + 1}: "


def test_a_good_policy_is_read_and_named_by_its_hash(tmp_path: Path) -> None:
    found = policy(tmp_path)
    assert found.purposes["newsletter"].ttl == Duration(months=13)
    assert len(found.sha256) == 64
    assert (found.trust("web"), found.trust("never_heard_of")) == (3, 0)


def test_t3_an_unknown_purpose_is_an_error_with_the_nearest_one(tmp_path: Path) -> None:
    text = changed("purposes_all_of: [service]", "purposes_all_of: [servise]")
    found = faults_of(tmp_path, text)
    assert line_of(text, "servise") in found
    assert "did you mean 'service'?" in found


def test_t3_an_unknown_profiling_purpose_is_an_error(tmp_path: Path) -> None:
    assert "is not declared" in faults_of(tmp_path, changed("{purpose: personalisation}", "{purpose: everything}"))


def test_t48_a_raw_identifier_as_a_field_is_an_error(tmp_path: Path) -> None:
    text = changed("notes: {transform: drop}", "email: {transform: pass}")
    assert "direct identifier" in faults_of(tmp_path, text)


def test_t48_there_is_no_hash_none(tmp_path: Path) -> None:
    text = changed(
        "email: {transform: match_sha256, rules: meta@2026-08}", "email: {transform: match_sha256, hash: none}"
    )
    found = faults_of(tmp_path, text)
    assert "'hash' is not known" in found
    assert "rules" in found


def test_t54_a_key_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    text = changed("profiling:", "default: deny\nprofiling:")
    assert "stands here and on line 3" in faults_of(tmp_path, text)


def test_t55_a_misspelt_key_is_an_error_with_the_nearest_one(tmp_path: Path) -> None:
    found = faults_of(tmp_path, changed("destinations:", "destinatons:"))
    assert "The key 'destinatons' is not known here" in found
    assert "did you mean 'destinations'?" in found


@pytest.mark.parametrize("value", ["allow", "off", "no", "false", "null", "", "DENY"])
def test_t56_the_default_is_deny_and_nothing_else(tmp_path: Path, value: str) -> None:
    faults_of(tmp_path, changed("default: deny", f"default: {value}"))


def test_t57_a_word_is_no_list_of_purposes(tmp_path: Path) -> None:
    text = changed("purposes_all_of: [newsletter, ads]", "purposes_all_of: ads")
    assert line_of(text, "purposes_all_of: ads") in faults_of(tmp_path, text)


@pytest.mark.parametrize("value", ["", "null", "[]", "~"])
def test_t58_no_purposes_is_an_error_and_not_no_requirements(tmp_path: Path, value: str) -> None:
    faults_of(tmp_path, changed("purposes_all_of: [newsletter, ads]", f"purposes_all_of: {value}"))


@pytest.mark.parametrize("hidden", ["\u200b", "\u00a0", "\ufeff"])
def test_t59_an_invisible_character_in_a_key_is_an_error(tmp_path: Path, hidden: str) -> None:
    assert "invisible" in faults_of(tmp_path, changed("  ads:", f"  a{hidden}ds:"))


@pytest.mark.parametrize(
    "text",
    [
        POLICY.replace("profiling: {purpose", "profiling: &a {purpose") + "again: *a\n",
        "a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        POLICY + "#" * 1_000_001,
        POLICY.replace("  newsletter:", "\tnewsletter:"),
        "<<: {default: allow}\n" + POLICY,
        "[" * 500,
        "!!python/object/apply:os.system [id]\n",
        "",
        "- a\n",
        b"\xff\xfe",
    ],
    ids=["alias", "laughs", "size", "tab", "merge", "depth", "tag", "empty", "list", "bytes"],
)
def test_t60_what_could_hide_something_is_an_error(tmp_path: Path, text: str | bytes) -> None:
    faults_of(tmp_path, text)


def test_t61_a_missing_policy_is_an_error(tmp_path: Path) -> None:
    faults = Faults()
    assert read_policy(tmp_path / "none.yaml", faults) is None
    assert "cannot be read" in faults.found[0]


def test_t61_a_policy_in_force_does_not_change_with_its_file(tmp_path: Path) -> None:
    found = policy(tmp_path)
    found.path.write_text("default: allow")
    assert found.file.default == "deny"
    assert found.destinations["mailer"].purposes_all_of == ["newsletter"]


@pytest.mark.parametrize("wildcard", ['["*"]', "[all*]", '"*"', "[newsletter, '*']"])
def test_t63_a_wildcard_is_no_purpose(tmp_path: Path, wildcard: str) -> None:
    faults_of(tmp_path, changed("purposes_all_of: [newsletter, ads]", f"purposes_all_of: {wildcard}"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    lia_ref: LIA-1\n", "", "needs 'lia_ref'"),
        ("    contract_ref: T&C-3\n", "", "needs 'contract_ref'"),
        ("    dpa_ref: DPA-1\n", "", "needs 'dpa_ref'"),
        ("{mechanism: scc, ref: DPA-2026-014}", "{mechanism: scc}", "needs 'ref'"),
        ("basis: {gdpr: consent, us: opt_out}", "basis: {}", "basis"),
        ("basis: {gdpr: consent, us: opt_out}", "basis: {gdpr: goodwill}", "basis"),
        ("ttl: P13M", "ttl: 13 months", "ISO 8601"),
        ("ttl: P13M", "ttl: P", "ISO 8601"),
        ("rules: meta@2026-08}", "rules: meta@1999}", "are not known"),
        ("{transform: band, width: 10, top: 80}", "{transform: band, width: 0}", "width"),
        ("{transform: drop}", "{transform: hide}", "transform"),
        ("{transform: drop}", "{transform: pass, special_category: health}", "does not cover the field"),
        ("shared_by: 2", "shared_by: 1", "shared_by"),
        ("skew: PT5M", "skew: 5", "ISO 8601"),
        ("purposes_all_of: [newsletter, ads]", "purposes_all_of: [newsletter, ads, ads]", "twice"),
    ],
)
def test_a_policy_that_leaves_something_open_is_an_error(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = faults_of(tmp_path, changed(old, new))
    assert said in found
    assert "policy.yaml:" in found


def test_an_alias_of_two_purposes_is_an_error(tmp_path: Path) -> None:
    text = changed("  ads:\n", '  ads:\n    alias: ["segment:Newsletter"]\n')
    found = faults_of(tmp_path, text)
    assert "stands for another purpose too" in found


def test_every_fault_of_a_policy_is_told_at_once(tmp_path: Path) -> None:
    text = changed("    lia_ref: LIA-1\n", "").replace("    dpa_ref: DPA-2\n", "").replace("[service]", "[servce]")
    assert len(faults_of(tmp_path, text).splitlines()) == 3


def test_a_data_use_of_fideslang_may_be_an_alias_and_is_spelt_right(tmp_path: Path) -> None:
    right = POLICY.replace('["segment:Newsletter"]', "[marketing.communications.email, essential]")
    found = policy(tmp_path, right)
    assert found.purpose_of("marketing.communications.email") == "newsletter"
    # A use is no prefix of another: what is not listed is not covered.
    assert found.purpose_of("marketing.communications") is None
    wrong = right.replace("communications.email", "comunications.email")
    said = "fideslang has no data use 'marketing.comunications.email'; did you mean 'marketing.communications.email'?"
    assert f"{line_of(wrong, 'alias: [')}{said}" in faults_of(tmp_path, wrong)
