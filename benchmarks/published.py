"""Published latency tables, as benchmarks see them: networks as columns, latencies in seconds.

A table is a `.npz` file with `devices` (D,) and `latency_ms` (D, N); `ops` (N, P) with `op_names`,
or `arch_str` (N,); and optionally `features` (N, C) with `feature_names`, analytic columns of a
space that the farm has no builder for. Tables come from $FARM_DATA, else ../shared/data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farm.errors import UnknownName, UsageError
from farm.spaces import SearchSpace, space
from farm.types import Network
from predictors import FloatArray, IntArray
from predictors.encodings.vec import counts, one_hot

BUILDERS = {"nb201": "nb201", "fbnet": "fbnet32"}
"""The farm's search space of a table, by file name; the published FBNet is the one for CIFAR."""

DEFAULT_FOLDER = Path(__file__).parents[1].parent / "shared" / "data"


@dataclass(frozen=True, eq=False)
class Table:
    """One file.

    latency_s: (N, D) seconds. vec: (N, P * kinds) of 0 and 1. structure: (N, S), all that is
    known of a network without measuring. costs: (N, C) analytic, not negative; C may be 0.
    """

    name: str
    devices: tuple[str, ...]
    latency_s: FloatArray
    vec: FloatArray
    structure: FloatArray
    costs: FloatArray
    cost_names: tuple[str, ...]

    def column(self, device: str) -> FloatArray:
        """(N,) seconds. Raises UnknownName."""
        if device not in self.devices:
            raise UnknownName("device", device, self.devices)
        return self.latency_s[:, self.devices.index(device)]


def folder(data: Path | None = None) -> Path:
    """`data`, else $FARM_DATA, else ../shared/data. Raises UsageError if it is not there."""
    path = data or Path(os.environ.get("FARM_DATA", DEFAULT_FOLDER))
    if not path.exists():
        raise UsageError(
            f"no published tables at {path}; set FARM_DATA to a folder with nb201.npz (latencies: "
            "HELP, github.com/HayeonLee/HELP, and HW-NAS-Bench, github.com/GATECH-EIC/HW-NAS-Bench)"
        )
    return path


def load(path: Path) -> Table:
    """Read one table. Raises UsageError for a file that is missing or lacks a field."""
    if not path.is_file():
        raise UsageError(f"no table {path}; `--space` is the name of a .npz file in `--data`")
    with np.load(path) as data:
        fields = {name: data[name] for name in data.files}
    for name in ("devices", "latency_ms"):
        if name not in fields:
            raise UsageError(f"{path} has no `{name}`; it holds {', '.join(sorted(fields))}")
    vec, tallies = _operations(path, fields)
    costs, names = _costs(path.stem, fields, vec)
    columns = _columns(path.stem, fields)
    latency_s = fields["latency_ms"].T.astype(float) * 1e-3
    structure = np.unique(np.column_stack([vec, tallies, *columns, np.log1p(costs)]), axis=1)
    return Table(
        path.stem, tuple(map(str, fields["devices"])), latency_s, vec, structure, costs, names
    )


def _operations(path: Path, fields: dict[str, NDArray]) -> tuple[FloatArray, FloatArray]:
    """(one-hot of each position, counts of each operation)."""
    if "ops" in fields:
        kinds = len(fields["op_names"]) if "op_names" in fields else int(fields["ops"].max()) + 1
        ops = fields["ops"].astype(np.intp)
    elif "arch_str" in fields:
        words = [re.findall(r"[a-z]\w*", str(text)) for text in fields["arch_str"]]
        known, codes = np.unique(words, return_inverse=True)
        kinds, ops = len(known), codes.reshape(len(words), -1)
    else:
        raise UsageError(f"{path} has neither `ops` nor `arch_str`; one of them is needed")
    return one_hot(ops, kinds), counts(ops, kinds)


def _columns(name: str, fields: dict[str, NDArray]) -> list[FloatArray]:
    """The farm's own features of the networks, where it knows the space."""
    if name not in BUILDERS:
        return []
    made = space(BUILDERS[name])
    return [made.features(_networks(made, fields))]


def _networks(made: SearchSpace, fields: dict[str, NDArray]) -> list[Network]:
    if "arch_str" in fields:
        return [made.parse(str(text)) for text in fields["arch_str"]]
    return [made.parse("".join(map(str, row))) for row in fields["ops"]]


def _costs(
    name: str, fields: dict[str, NDArray], vec: FloatArray
) -> tuple[FloatArray, tuple[str, ...]]:
    """Analytic columns of the file or of the space; none where neither knows any."""
    if "features" in fields:
        values = fields["features"].astype(float)
        return _non_negative(values, [str(n) for n in fields["feature_names"]])
    if name not in BUILDERS:
        return np.empty((len(vec), 0)), ()
    made = space(BUILDERS[name])
    values, names = _analytic(made, _networks(made, fields))
    if name == "nb201":
        eager = _eager_costs(made, vec)
        values = np.column_stack([values, eager])
        names = [*names, *(f"eager_{n}" for n in names)]
    return _non_negative(values, names)


def _analytic(made: SearchSpace, networks: Sequence[Network]) -> tuple[FloatArray, list[str]]:
    """The columns that the space gives as log(1 + cost), as costs."""
    logs = [i for i, n in enumerate(made.feature_names) if n.startswith("log_")]
    names = [made.feature_names[i].removeprefix("log_") for i in logs]
    return np.expm1(made.features(networks)[:, logs]), names


def _eager_costs(made: SearchSpace, vec: FloatArray) -> FloatArray:
    """Costs (N, C) of NAS-Bench-201 cells whose every edge is run, needed or not, as PyTorch does.

    vec: (N, 30), six edges of five operations in the order of the published tables.
    """
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    cell = "|none~0|+|none~0|none~1|+|{}~0|none~1|none~2|"
    alone, _ = _analytic(made, [made.parse(cell.format(name)) for name in names])
    skip = alone[names.index("skip_connect")]
    tallies = vec.reshape(len(vec), -1, len(names)).sum(1)
    return np.maximum(skip + tallies @ np.maximum(alone - skip, 0), 0)


def _non_negative(values: FloatArray, names: Sequence[str]) -> tuple[FloatArray, tuple[str, ...]]:
    kept = [i for i in range(len(names)) if np.isfinite(v := values[:, i]).all() and v.min() >= 0]
    return values[:, kept], tuple(names[i] for i in kept)


def split(table: Table, devices: Sequence[str]) -> IntArray:
    """Positions of `devices` in the table. Raises UnknownName."""
    for device in devices:
        table.column(device)
    return np.array([table.devices.index(device) for device in devices], np.intp)
