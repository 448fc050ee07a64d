"""The example of the guide is complete: its two files pass as they stand on the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "connectors" / "add-a-destination.md"


def test_the_example_of_the_guide_passes_the_contract(tmp_path: Path) -> None:
    connector, tests = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    (tmp_path / "postbox.py").write_text(connector)
    (tmp_path / "test_postbox.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 17


def test_the_example_of_the_guide_is_typed_and_tidy(tmp_path: Path) -> None:
    connector, tests = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    (tmp_path / "postbox.py").write_text(connector)
    (tmp_path / "test_postbox.py").write_text(tests)
    settings = GUIDE.parents[2] / "pyproject.toml"
    command = [sys.executable, "-m", "ruff", "check", "--config", str(settings), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
