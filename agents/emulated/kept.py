"""Results that are computed once and kept: a JSON file for each, named by what it is of."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farm.core.values import digest


class Kept:
    """A folder of results. Several processes may use it at once: a file appears complete or not.

    Two that compute the same write the same, so it does not matter who comes last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: Any) -> dict[str, Any] | None:
        """The result of `key`, any JSON; None where there is none, or what is there is no JSON."""
        try:
            found = json.loads(self._path(key).read_bytes())
        except (OSError, ValueError):
            return None
        return found["result"] if isinstance(found, dict) and "result" in found else None

    def put(self, key: Any, result: Mapping[str, Any]) -> None:
        """Keeps a result, with its key, so that the file says what it is of."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
            json.dump({"key": key, "result": dict(result)}, file)
        Path(file.name).replace(path)

    def _path(self, key: Any) -> Path:
        name = digest(key)
        return self.folder / name[:2] / f"{name}.json"
