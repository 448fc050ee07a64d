"""Commands run as the shell runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from consentry.cli import main

Answer = tuple[int, str, str]
Cli = Callable[..., Answer]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command; returns exit code, stdout and stderr. No answer may show a traceback or a personal value."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["consentry", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert "canary" not in (out + err).lower()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err

    return call


def told(answer: Answer, code: int = 0) -> dict[str, Any]:
    """Read the JSON of a command that ended with this exit code."""
    assert answer[0] == code, answer
    return dict(json.loads(answer[1]))
