"""What the identity block may say, and what it says when it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from consentry.config import Faults, bind, read_document
from consentry.identity.config import IdentifierRule, IdentityConfig

DOCS = Path(__file__).parents[2] / "docs" / "identity.md"


def faults_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "identity.yaml"
    path.write_text(text)
    faults = Faults()
    document = read_document(path, faults)
    assert document is not None
    bind(document, IdentityConfig, faults)
    return [fault.removeprefix(f"{path}:") for fault in faults.found]


def test_an_empty_block_is_a_working_one() -> None:
    config = IdentityConfig()
    kinds = {
        type_: config.rule(type_).kind for type_ in ("email", "work_email", "phone", "anonymous_id", "customer_number")
    }
    assert kinds == {
        "email": "email", "work_email": "email", "phone": "phone",
        "anonymous_id": "cookie", "customer_number": "external",
    }  # fmt: skip
    assert (config.rule("customer_number").unique, config.rule("customer_number").max_per_person) == (True, 1)
    assert (config.rule("email").unique, config.rule("email").max_per_person) == (False, 5)


def test_what_the_job_says_goes_before_the_kind() -> None:
    config = IdentityConfig.model_validate({"identifiers": {"member": {"unique": False, "max_persons_per_value": 9}}})
    rule = config.rule("member")
    assert (rule.unique, rule.max_per_person, rule.max_persons_per_value) == (False, 5, 9)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("identifiers: {email: {uniqe: true}}", "1: The key 'uniqe' is not known here; did you mean 'unique'?"),
        ("identifiers: {email: {blocked: ['(a']}}", "'(a' is not a regular expression in RE2's syntax"),
        ("identifiers: {email: {blocked: ['(?=a)b']}}", "which has no look-around"),
        ("identifiers:\n  id:\n    unique: true\n    max_per_person: 3", "a unique identifier has one value a person"),
        ("identifiers: {email: {max_per_person: 0}}", "greater than or equal to 1"),
        ("identifiers: {email: {kind: mail}}", "'email', 'phone', 'external' or 'cookie'"),
        ("golden: {order: [trust, trust]}", "a criterion stands twice"),
        ("golden: {fields: {City: {order: [trust]}}}", "a name has lower-case letters"),
    ],
)
def test_a_fault_is_a_sentence_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    [fault] = faults_of(tmp_path, text)
    assert sentence in fault
    assert fault[0].isdigit()


def test_every_key_is_documented() -> None:
    text = DOCS.read_text()
    keys = {*IdentityConfig.model_fields, *IdentifierRule.model_fields, "order", "sources", "fields"}
    assert not {key for key in keys if f"`{key}`" not in text}
