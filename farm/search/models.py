"""The networks that a search chose, as files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.spaces import space


def write_models(networks: Sequence[Network], folder: Path) -> list[Path]:
    """Write an ONNX file of each, numbered in their order. Raises UsageError."""
    found = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, network in enumerate(networks, 1):
            digest = hashlib.sha256(network.id.encode()).hexdigest()[:8]
            path = folder / f"{number:02d}_{network.space}_{digest}.onnx"
            model = space(network.space).model(network)
            path.write_bytes(model.SerializeToString(deterministic=True))
            found.append(path)
    except OSError as e:
        raise UsageError(f"--onnx: {folder} cannot be written: {e.strerror}") from e
    return found
