"""The networks that a search chose, as files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from farm.core.errors import UsageError
from farm.core.hosts import make_writable
from farm.core.values import Network
from farm.spaces import space


def must_be_folder(folder: Path) -> None:
    """Make the folder of the files, before anything is searched for them. Raises UsageError."""
    try:
        make_writable(folder)
    except OSError as e:
        raise _unwritable(folder, e) from e


def write_models(networks: Sequence[Network], folder: Path) -> list[Path]:
    """Write an ONNX file of each, numbered in their order. Raises UsageError."""
    found = []
    must_be_folder(folder)
    try:
        for number, network in enumerate(networks, 1):
            digest = hashlib.sha256(network.id.encode()).hexdigest()[:8]
            path = folder / f"{number:02d}_{network.space}_{digest}.onnx"
            model = space(network.space).model(network)
            path.write_bytes(model.SerializeToString(deterministic=True))
            found.append(path)
    except OSError as e:
        raise _unwritable(folder, e) from e
    return found


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"--onnx: {folder} is no folder that can be written to: {error.strerror}")
