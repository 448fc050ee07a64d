"""Keep the versions of models: one folder a version, sealed, and which of them is in use.

    NAME/v0001/card.json      what the version is, how good it is and why it is in use or not
    NAME/v0001/model.json     codings, scales, centres, parameters: plain numbers
    NAME/v0001/estimator.skops   of a model that foretells (see `estimator`)
    NAME/v0001/seal.json      the keyed hash of each of these
    NAME/champion.json        which version is in use, sealed as well

A version is written beside and renamed into its place, so that it is there as a whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consentry.errors import ConfigError, StopRun
from consentry.segments.models.seal import Seals

CARD, MODEL, SEAL, CHAMPION = "card.json", "model.json", "seal.json", "champion.json"
_NO_VERSION = 0
# A card and a model are whatever JSON can hold.
Card = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Registry:
    """The models of a job, in a folder of their own."""

    folder: Path
    seals: Seals

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model, oldest first."""
        found = (self.folder / model).glob("v[0-9]*")
        return sorted(int(path.name[1:]) for path in found if path.name[1:].isdigit() and path.is_dir())

    def save(self, model: str, card: Card, files: Mapping[str, bytes]) -> int:
        """Keep a new version with its card, and return its number."""
        (self.folder / model).mkdir(parents=True, exist_ok=True)
        version = max(self.versions(model), default=0) + 1
        content = {**files, CARD: _json({**card, "version": version})}
        staged = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder / model))
        try:
            seals = {name: self.seals.seal((model, version, name), data) for name, data in content.items()}
            for name, data in {**content, SEAL: _json(seals)}.items():
                _write(staged / name, data)
            os.rename(staged, self._place(model, version))
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        return version

    def card(self, model: str, version: int) -> Card:
        """Return the card of a version. Raises StopRun when it was changed."""
        return dict(json.loads(self.load(model, version)[CARD]))

    def load(self, model: str, version: int) -> dict[str, bytes]:
        """Return the files of a version, none of them changed, missing or added. Raises StopRun otherwise."""
        folder = self._place(model, version)
        seals = _parsed(folder / SEAL)
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SEAL} if seals else {}
        if not seals or set(found) != set(seals):
            message = f"The model {model!r}, version {version}, is not whole. Restore {folder}, or train it again."
            raise StopRun(message, code="model_tampered")
        for name, content in found.items():
            self.seals.check((model, version, name), content, str(seals[name]))
        return found

    def promote(self, model: str, version: int) -> None:
        """Put a version into use. Raises ConfigError when there is none of this number."""
        if version not in self.versions(model):
            known = ", ".join(map(str, self.versions(model))) or "none"
            raise ConfigError(f"The model {model!r} has no version {version}; there are: {known}.")
        self.load(model, version)
        number = str(version).encode()
        chosen = {"version": version, "seal": self.seals.seal((model, _NO_VERSION, CHAMPION), number)}
        fresh = self.folder / model / f"{CHAMPION}.new"
        _write(fresh, _json(chosen))
        os.replace(fresh, self.folder / model / CHAMPION)

    def champion(self, model: str) -> int | None:
        """Return the version in use, None when there is none. Raises StopRun when the choice was changed."""
        path = self.folder / model / CHAMPION
        if not path.exists():
            return None
        chosen = _parsed(path)
        version = chosen.get("version")
        number = str(version).encode()
        self.seals.check((model, _NO_VERSION, CHAMPION), number, str(chosen.get("seal")))
        return int(number)

    def _place(self, model: str, version: int) -> Path:
        return self.folder / model / f"v{version:04d}"


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, allow_nan=False).encode()


def _parsed(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
