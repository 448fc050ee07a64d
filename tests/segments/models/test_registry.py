"""Versions of models: whole or not there, and refused when a byte of them was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from consentry.errors import ConfigError, StopRun
from consentry.segments.models.registry import Registry
from consentry.segments.models.seal import Seals

KEYS = {1: b"k" * 32}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", Seals(KEYS, 1))


def test_versions_are_numbered_and_the_champion_is_one_of_them(registry: Registry) -> None:
    assert registry.versions("churn") == [] and registry.champion("churn") is None
    first = registry.save("churn", {"auc": 0.8}, {"model.json": b"{}"})
    second = registry.save("churn", {"auc": 0.9}, {"model.json": b"{}"})
    registry.promote("churn", second)
    assert (first, second, registry.versions("churn"), registry.champion("churn")) == (1, 2, [1, 2], 2)
    assert registry.card("churn", 1) == {"auc": 0.8, "version": 1}
    registry.promote("churn", first)
    assert registry.champion("churn") == 1


@pytest.mark.parametrize("name", ["card.json", "model.json", "seal.json"])
def test_a_tampered_file_of_a_model_is_refused(registry: Registry, name: str) -> None:
    registry.save("churn", {"auc": 0.8}, {"model.json": b'{"a": 1}'})
    path = registry.folder / "churn" / "v0001" / name
    content = path.read_bytes()
    changed = {"card.json": content.replace(b"8", b"9"), "seal.json": content.replace(b'"1:', b'"1:f')}
    path.write_bytes(changed.get(name, content[:-1] + b" }"))
    with pytest.raises(StopRun, match="churn") as error:
        registry.load("churn", 1)
    assert error.value.code == "model_tampered"


def test_a_file_that_is_gone_or_was_added_is_refused(registry: Registry) -> None:
    registry.save("churn", {}, {"model.json": b"{}"})
    folder = registry.folder / "churn" / "v0001"
    (folder / "more.pickle").write_bytes(b"x")
    with pytest.raises(StopRun, match="not whole"):
        registry.load("churn", 1)
    (folder / "more.pickle").unlink()
    (folder / "model.json").unlink()
    with pytest.raises(StopRun, match="not whole"):
        registry.load("churn", 1)


def test_a_sealed_version_does_not_pass_for_another_one_or_another_model(registry: Registry) -> None:
    registry.save("churn", {"auc": 0.8}, {"model.json": b"{}"})
    place = registry.folder / "churn"
    (place / "v0001").rename(place / "v0002")
    with pytest.raises(StopRun):
        registry.load("churn", 2)
    place.rename(registry.folder / "value")
    (registry.folder / "value" / "v0002").rename(registry.folder / "value" / "v0001")
    with pytest.raises(StopRun):
        registry.load("value", 1)


def test_the_choice_of_a_champion_cannot_be_changed_without_the_key(registry: Registry) -> None:
    for _ in range(2):
        registry.save("churn", {}, {"model.json": b"{}"})
    registry.promote("churn", 1)
    path = registry.folder / "churn" / "champion.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(StopRun):
        registry.champion("churn")


def test_models_stay_readable_when_keys_are_rotated_and_not_when_the_key_is_gone(registry: Registry) -> None:
    registry.save("churn", {"auc": 0.8}, {"model.json": b"{}"})
    rotated = Registry(registry.folder, Seals({**KEYS, 2: b"n" * 32}, 2))
    assert rotated.card("churn", 1)["auc"] == 0.8
    with pytest.raises(StopRun, match="its key is not held"):
        Registry(registry.folder, Seals({2: b"n" * 32}, 2)).card("churn", 1)


def test_promoting_what_is_not_there_names_what_is(registry: Registry) -> None:
    registry.save("churn", {}, {})
    with pytest.raises(ConfigError, match="no version 7; there are: 1"):
        registry.promote("churn", 7)


def test_a_version_that_could_not_be_written_leaves_nothing_behind(registry: Registry) -> None:
    with pytest.raises(ValueError):
        registry.save("churn", {"auc": float("nan")}, {})
    with pytest.raises(TypeError):
        registry.save("churn", {}, {"model.json": "text"})  # type: ignore[dict-item]
    assert list((registry.folder / "churn").iterdir()) == []


def test_keys_are_not_shown() -> None:
    assert "kkkk" not in repr(Seals(KEYS, 1))
