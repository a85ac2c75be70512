"""What the predictors' tests share: a published table, and features made from its cells alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from predictors import FloatArray, IntArray, Observations

# Millions of multiply-accumulates of an operation on all its 15 cells, and of the rest.
_OP_MACS = {"none": 0, "skip_connect": 0, "nor_conv_1x1": 4.0, "nor_conv_3x3": 35.4}
_OP_MACS["avg_pool_3x3"] = 1.3
_OTHER_MACS = 8.0


@dataclass(frozen=True, eq=False)
class Table:
    """features: (N, F), counts of the operations, MACs, one-hot operations of each edge."""

    features: FloatArray
    macs_column: int
    devices: tuple[str, ...]
    latency_s: FloatArray

    def column(self, device: str) -> FloatArray:
        return self.latency_s[self.devices.index(device)]

    def observe(self, rows: dict[str, IntArray]) -> Observations:
        """The entries `rows` of each device."""
        devices = tuple(rows)
        index = np.concatenate([np.full(len(r), d) for d, r in enumerate(rows.values())])
        latency_s = np.concatenate([self.column(device)[r] for device, r in rows.items()])
        return Observations(
            self.features[np.concatenate(list(rows.values()))], index, latency_s, devices
        )


@pytest.fixture(scope="session")
def nb201() -> Table:
    folder = Path(os.environ.get("FARM_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "nb201.npz"
    if not path.exists():
        pytest.skip(f"no published table {path}; set FARM_DATA to the folder that holds nb201.npz")
    data = np.load(path)
    one_hot = np.eye(len(data["op_names"]))[data["ops"]]
    counts = one_hot.sum(1)
    macs = 1e6 * (counts @ [_OP_MACS[name] for name in data["op_names"]] + _OTHER_MACS)
    features = np.concatenate([counts, macs[:, None], one_hot.reshape(len(macs), -1)], axis=1)
    return Table(
        features, counts.shape[1], tuple(data["devices"]), data["latency_ms"].astype(float) * 1e-3
    )


@pytest.fixture(scope="session")
def pool() -> FloatArray:
    """(200, 6) made-up networks: four counts, a size (column 4) and a switch."""
    rng = np.random.default_rng(7)
    counts = rng.integers(0, 6, (200, 4)).astype(float)
    size = 1e6 * (1 + counts @ [1.0, 4.0, 0.5, 0.1])
    return np.column_stack([counts, size, rng.integers(0, 2, 200)])
