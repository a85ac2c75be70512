"""Published latency tables: what other people measured on devices of theirs.

A table is a `.npz` file with `devices` (D,), `latency_ms` (D, N) in milliseconds, and the networks'
codes: `arch_str` (N,), or `ops` (N, P) whose rows, digits in a row, are the codes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from farm.core.errors import DeviceUnfit

_SPACES = {"fbnet": "fbnet32"}
"""The search space of a published table, where that is not its file name: FBNet's is for CIFAR."""

_DEFAULT_FOLDER = Path(__file__).parents[1].parent / "shared" / "data"


@dataclass(frozen=True, eq=False)
class Table:
    """row_of: by code; latency_s: (D, N) float64, not checked; digest: of the file's bytes."""

    devices: tuple[str, ...]
    row_of: Mapping[str, int]
    latency_s: NDArray[np.float64]
    digest: str


def table_path(table: str) -> Path:
    """Where a table is: `nb201` is nb201.npz in $FARM_DATA, else in ../shared/data; what has a `/`
    or ends in .npz is the path of a file."""
    if "/" in table or table.endswith(".npz"):
        return Path(table).expanduser()
    return Path(os.environ.get("FARM_DATA") or _DEFAULT_FOLDER) / f"{table}.npz"


def space_of(path: Path) -> str:
    """The search space that a table's file is named for."""
    return _SPACES.get(path.stem, path.stem)


def load(path: Path) -> Table:
    """The table in a file, read once as long as the file stays. Raises DeviceUnfit."""
    try:
        return _loaded(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, BadZipFile) as e:
        raise DeviceUnfit(
            f"no latency table in {path}: {_reason(e)}; set FARM_DATA to the folder of the "
            "published tables, or let `table` be the path of a .npz file"
        ) from e


def offer(name: str, known: Sequence[str]) -> str:
    """What to write in place of a name that is not known."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).strip("'")


@cache
def _loaded(path: Path, _modified_ns: int) -> Table:
    content = path.read_bytes()
    with np.load(BytesIO(content)) as data:
        devices = tuple(map(str, data["devices"]))
        latency_ms = data["latency_ms"].astype(float)
        codes = _codes(data)
    if latency_ms.shape != (len(devices), len(codes)):
        raise ValueError(
            f"`latency_ms` must have a row for each of {len(devices)} devices and a column for "
            f"each of {len(codes)} networks, got {latency_ms.shape}"
        )
    row_of = {code: row for row, code in enumerate(codes)}
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Table(devices, row_of, latency_ms * 1e-3, digest)


def _codes(data: Any) -> list[str]:
    if "arch_str" in data:
        return [str(code) for code in data["arch_str"]]
    return ["".join(map(str, row)) for row in data["ops"]]
