"""What the tests of several packages share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def published() -> Callable[[str], Mapping[str, Any]]:
    """Reads a published table by its file name; skips the test where the table is not there."""
    folder = Path(os.environ.get("FARM_DATA", Path(__file__).parents[2] / "shared" / "data"))

    def read(name: str) -> Mapping[str, Any]:
        if not (folder / name).exists():
            pytest.skip(f"no {name} in {folder}; set FARM_DATA to the folder of published tables")
        with np.load(folder / name) as data:
            return dict(data)

    return read
