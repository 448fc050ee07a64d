"""What the strict reader refuses, and how it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from consentry.config import Document, Faults, Model, Name, bind, read_document
from consentry.errors import ConfigError


class Inner(Model):
    token: SecretStr | None = None
    base_url: str = ""


class Outer(Model):
    name: Name
    country: str = ""
    parts: dict[str, Inner] = Field(default_factory=dict)


def read(tmp_path: Path, text: str | bytes, env: dict[str, str] | None = None) -> tuple[Document | None, list[str]]:
    path = tmp_path / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    faults = Faults()
    return read_document(path, faults, env=env or {}), [fault.removeprefix(f"{path}:") for fault in faults.found]


def bound(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> tuple[Outer | None, list[str]]:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    faults = Faults()
    document = read_document(path, faults, env=env or {})
    model = bind(document, Outer, faults) if document else None
    return model, [fault.removeprefix(f"{path}:") for fault in faults.found]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands here and on line 1"),
        ("country: no\n", 1, 'Write "no" if the word is meant'),
        ("on: 1\nx: off\n", 2, "true or false"),
        ("a: &x 1\nb: *x\n", 2, "Anchors and aliases"),
        ("a: 1\n\tb: 2\n", 2, "tab"),
        ("a: [1, 2\n", 2, "not valid YAML"),
        ("a\u200b: 1\n", 1, "invisible character"),
        ("a: !!python/object/apply:os.system ['x']\n", 1, "tag is not read"),
        ("? [a, b]\n: 1\n", 1, "plain words"),
        ("<<: {a: 1}\n", 1, "plain words"),
        ("", 1, "empty"),
        ("a: ${MISSING}\n", 1, "MISSING is not set"),
        ("x: 1\na: ${HOM}\n", 2, "did you mean 'HOME'?"),
        ("a: ${UNCLOSED\n", 1, "no closing"),
        ("[" * 60 + "]" * 60, 1, "nested deeper"),
    ],
)
def test_a_fault_names_its_line_and_the_remedy(tmp_path: Path, text: str, line: int, part: str) -> None:
    _, faults = read(tmp_path, text, env={"HOME": "/home"})
    assert any(fault.startswith(f"{line}: ") and part in fault for fault in faults), faults


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    _, faults = read(tmp_path, b"a: 1\nb: \xff\xfe\n")
    assert faults == ["2: This is not UTF-8 text. Save the file as UTF-8."]


def test_a_file_beyond_one_megabyte_is_refused_unread(tmp_path: Path) -> None:
    document, faults = read(tmp_path, "a: " + "x" * 1_000_001)
    assert document is None
    assert "1,000,004 bytes" in faults[0]


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    faults = Faults()
    assert read_document(tmp_path / "none.yaml", faults) is None
    assert "No such file" in faults.found[0]


def test_variables_and_defaults_are_filled(tmp_path: Path) -> None:
    document, faults = read(tmp_path, "a: ${ONE}/x\nb: ${TWO:-two}\nc: ${EMPTY:-filled}\n", {"ONE": "1", "EMPTY": ""})
    assert document is not None
    assert (document.data, faults) == ({"a": "1/x", "b": "two", "c": "filled"}, [])


def test_all_faults_are_shown_at_once(tmp_path: Path) -> None:
    _, faults = bound(tmp_path, "nam: x\ncountry: no\nparts: {crm: {tokn: 1}}\n")
    text = "\n".join(faults)
    assert "did you mean 'name'" in text
    assert "true or false" in text
    assert "3: The key 'tokn' is not known here; did you mean 'token'?" in text
    assert "has no 'name'" in text


@pytest.mark.parametrize("value", ["abc123", "'abc123'", "${TOKEN:-abc123}"])
def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path, value: str) -> None:
    _, faults = bound(tmp_path, f"name: x\nparts:\n  crm:\n    token: {value}\n")
    assert any(fault.startswith("4: parts.crm.token holds a secret") for fault in faults)
    assert "abc123" not in "\n".join(faults)


def test_a_secret_from_the_environment_is_taken_and_hidden(tmp_path: Path) -> None:
    model, faults = bound(tmp_path, "name: x\nparts: {crm: {token: '${TOKEN}'}}\n", {"TOKEN": "abc123"})
    assert faults == []
    assert model is not None
    assert "abc123" not in repr(model)


def test_the_simulators_own_token_may_be_a_default(tmp_path: Path) -> None:
    _, faults = bound(tmp_path, "name: x\nparts: {crm: {token: '${TOKEN:-sandbox-crm}'}}\n")
    assert faults == []


def test_faults_are_raised_once_each(tmp_path: Path) -> None:
    faults = Faults()
    faults.add(tmp_path, 3, "One.")
    faults.add(tmp_path, 3, "One.")
    with pytest.raises(ConfigError) as caught:
        faults.check()
    assert len(caught.value.faults) == 1
