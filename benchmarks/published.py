"""Published latency tables, as benchmarks see them: networks as columns, latencies in seconds.

A table is a `.npz` file as `benchmarks.table_file` describes it. Tables come from $FARM_DATA, else
../shared/data. Where the farm has a builder for a table's networks, it adds what follows from
their graphs; any other table is taken as it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks import proxies
from benchmarks.table_file import TableFile, read
from farm.core.errors import NetworkSyntaxError, UnknownName, UsageError
from farm.core.values import Network
from farm.spaces import space
from farm.spaces.base import SearchSpace
from farm.spaces.fbnet import LAYERS, OPERATIONS
from predictors import FloatArray, IntArray
from predictors.encodings.hwl import root
from predictors.encodings.vec import counts, one_hot, tallies

DEFAULT_FOLDER = Path(__file__).parents[1].parent / "shared" / "data"


@dataclass(frozen=True, eq=False)
class Table:
    """One file.

    latency_s: (N, D) seconds, NaN where nothing was measured. ops: (N, P), each an index into
    `op_names`. texts: how the file spells the networks, if it does. vec: (N, P * kinds) of 0
    and 1. structure: (N, S), all that is known of a network without measuring. costs: (N, C)
    analytic, not negative; C may be 0. parts: (N, L), what latency may be a sum of beside them; L
    may be 0. zcp: (N, Z) zero-cost proxies, NaN where unknown; Z may be 0. describing: (A,), the
    networks whose latencies describe a device; A may be 0. notes: what was left out.
    """

    name: str
    devices: tuple[str, ...]
    latency_s: FloatArray
    ops: IntArray
    op_names: tuple[str, ...]
    texts: tuple[str, ...] | None
    vec: FloatArray
    structure: FloatArray
    costs: FloatArray
    cost_names: tuple[str, ...]
    parts: FloatArray
    zcp: FloatArray
    zcp_names: tuple[str, ...]
    describing: IntArray
    notes: tuple[str, ...]

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


def load(path: Path, analytic: bool = True) -> Table:
    """Read one table; the last few are kept, as long as their files do not change.

    analytic: False leaves out all that follows from a network's graph, as if there were no
    builder and no `features`. Raises UsageError for a file that is missing or does not fit.
    """
    return _load(path, path.stat().st_mtime_ns if path.exists() else 0, analytic)


@lru_cache(maxsize=4)
def _load(path: Path, changed_ns: int, analytic: bool) -> Table:
    del changed_ns
    file = read(path)
    kinds = len(file.op_names)
    vec = one_hot(file.ops, kinds)
    graphs = _from_graphs(file) if analytic else _no_graphs(file)
    costs, names = graphs.costs, graphs.names
    if analytic and file.cost_names:
        costs, names = file.costs, file.cost_names
    parts = graphs.parts if names else tallies(file.ops, kinds)
    known = [vec, counts(file.ops, kinds), graphs.features, np.log1p(costs)]
    structure = np.unique(np.column_stack(known), axis=1)
    zcp, zcp_names = proxies.of(path, file)
    return Table(
        path.stem,
        file.devices,
        file.latency_s,
        file.ops,
        file.op_names,
        file.texts,
        vec,
        structure,
        costs,
        names,
        parts[:, np.ptp(parts, axis=0) > 0],
        zcp,
        zcp_names,
        file.describing,
        file.notes,
    )


@dataclass(frozen=True, eq=False)
class _Graphs:
    """What follows from the networks' graphs. features: (N, F); costs: (N, C), `names`; parts: as
    in `Table`."""

    features: FloatArray
    costs: FloatArray
    names: tuple[str, ...]
    parts: FloatArray


def _no_graphs(file: TableFile) -> _Graphs:
    none = np.empty((len(file.ops), 0))
    return _Graphs(none, none, (), none)


def _from_graphs(file: TableFile) -> _Graphs:
    """Of networks that the farm can build.

    The published cells of NAS-Bench-201 were mostly measured with every edge run, some without
    what the output does not need: those costs only add to the others.
    """
    found = _built(file)
    if found is None:
        return _no_graphs(file)
    made, networks = found
    values, names = _analytic(made, networks)
    features, parts = made.features(networks), np.empty((len(networks), 0))
    if made.name == "nb201":
        values, parts = _eager_costs(made, file), root(values)
    return _Graphs(features, *_non_negative(values, names), parts)


def _built(file: TableFile) -> tuple[SearchSpace, list[Network]] | None:
    """The farm's search space of these networks, told by how they are written."""
    if file.op_names == OPERATIONS and file.ops.shape[1] == LAYERS:
        fbnet = space("fbnet32")  # The published tables are of the networks for CIFAR.
        return fbnet, [fbnet.parse("".join(map(str, row))) for row in file.ops]
    nb201 = space("nb201")
    try:
        return nb201, [nb201.parse(text) for text in file.texts or ("",)]
    except NetworkSyntaxError:
        return None


def _analytic(made: SearchSpace, networks: Sequence[Network]) -> tuple[FloatArray, list[str]]:
    """The columns that the space gives as log(1 + cost), as costs."""
    logs = [i for i, n in enumerate(made.feature_names) if n.startswith("log_")]
    names = [made.feature_names[i].removeprefix("log_") for i in logs]
    return np.expm1(made.features(networks)[:, logs]), names


def _eager_costs(made: SearchSpace, file: TableFile) -> FloatArray:
    """Costs (N, C) of NAS-Bench-201 cells when every edge is run, needed or not, as in PyTorch."""
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    cell = "|none~0|+|none~0|none~1|+|{}~0|none~1|none~2|"
    alone, _ = _analytic(made, [made.parse(cell.format(name)) for name in names])
    skip = alone[names.index("skip_connect")]
    tallies = np.array([[text.count(name) for name in names] for text in file.texts or ()])
    return np.maximum(skip + tallies @ np.maximum(alone - skip, 0), 0)


def _non_negative(values: FloatArray, names: Sequence[str]) -> tuple[FloatArray, tuple[str, ...]]:
    kept = [i for i in range(len(names)) if np.isfinite(v := values[:, i]).all() and v.min() >= 0]
    return values[:, kept], tuple(names[i] for i in kept)


def split(table: Table, devices: Sequence[str]) -> IntArray:
    """Positions of `devices` in the table. Raises UnknownName."""
    for device in devices:
        table.column(device)
    return np.array([table.devices.index(device) for device in devices], np.intp)
