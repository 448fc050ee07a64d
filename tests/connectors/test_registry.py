"""The registry: connectors are found by their entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from consentry.connectors import registry
from consentry.connectors.base import Destination, LooksUp, Removes, Source
from consentry.connectors.files import Files
from consentry.connectors.registry import broken, connect, connector, connectors
from consentry.errors import ConfigError


def test_our_connectors_are_registered_like_anybodys() -> None:
    assert connector("files") is Files
    assert {"files", "hubspot", "klaviyo"} <= set(connectors())
    assert broken() == {}


def test_an_unknown_type_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no connector 'hubspto'; did you mean 'hubspot'"):
        connector("hubspto")


def test_a_broken_plugin_is_reported_by_name_and_the_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = EntryPoint("bad", "no.such.module:Thing", registry.GROUP)
    ours = registry._entries()
    monkeypatch.setattr(registry, "_entries", lambda: {**ours, "bad": bad})
    assert "'bad'" in broken()["bad"]
    assert "files" in connectors() and "bad" not in connectors()
    with pytest.raises(ConfigError, match=r"'bad' of package .* cannot be imported"):
        connector("bad")


def test_files_are_both_a_source_and_a_destination(tmp_path: Path) -> None:
    made = connect("files", Files.Config(), base=tmp_path)
    assert isinstance(made, Source) and isinstance(made, Destination)
    assert isinstance(made, Removes) and isinstance(made, LooksUp)


def test_every_connector_can_be_made_without_paths() -> None:
    for name in ("memory", "memory_source"):
        assert connect(name, connector(name).Config.model_validate({})).check().ok
