"""Do measured latencies rank networks as published ones do?

    python -m benchmarks.validity --networks 60 --seed 0 [--devices cpu1] [--json]

Measures random NAS-Bench-201 networks in a campaign of its own and compares them, by Spearman's
rank correlation, with their multiply-accumulates and with the published columns of other devices.
Published tables come from $FARM_DATA, else ../shared/data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.published import folder
from farm import Farm
from farm.cli.progress import watching
from farm.spaces import space
from farm.store import Store
from predictors.metrics import spearman

COLUMNS = ("silver_4114", "gold_6226", "raspi4", "pixel3", "titan_rtx_1", "eyeriss", "fpga")


def measured(
    config: Path, devices: Sequence[str], networks: int, seed: int
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Codes (N,) of the networks that every device measured, and (N,) seconds for each device."""
    with TemporaryDirectory() as scratch, watching() as watch:
        farm = Farm.open(config, scratch)
        farm.launch("nb201", devices, networks, holdout=0, seed=seed, select="random", watch=watch)
        with farm.store() as store:
            for _, failure in store.failures("c1"):
                print(f"{failure.network.id}: {failure.kind}: {failure.message}", file=sys.stderr)
            return _common(store, devices)


def _common(store: Store, devices: Sequence[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    found = list(dict.fromkeys(m.network for m in store.measurements()))
    values_s, mask = store.latency_matrix(found, devices)
    everywhere = np.flatnonzero(mask.all(axis=1))
    codes = [found[i].code for i in everywhere]
    return codes, {device: values_s[everywhere, i] for i, device in enumerate(devices)}


def peers(codes: Sequence[str]) -> dict[str, np.ndarray]:
    """(N,) values to rank against: MACs, and each published column that there is."""
    nb201 = space("nb201")
    features = nb201.features([nb201.parse(code) for code in codes])
    with np.load(folder() / "nb201.npz") as table:
        row_of = {str(text): row for row, text in enumerate(table["arch_str"])}
        rows = [row_of[code] for code in codes]
        names = [str(name) for name in table["devices"]]
        columns = {name: table["latency_ms"][names.index(name), rows] for name in COLUMNS}
    return {"macs": features[:, nb201.feature_names.index("macs")], **columns}


def compare(codes: Sequence[str], latencies: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """{device: {column: Spearman}}."""
    against = peers(codes)
    return {
        device: {name: spearman(np.asarray(values, float), own) for name, values in against.items()}
        for device, own in latencies.items()
    }


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.validity", description=__doc__)
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", default="cpu1", help="names, with commas")
    parser.add_argument("--config", type=Path, default=Path("cluster.yaml"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    devices = options.devices.split(",")
    codes, latencies = measured(options.config, devices, options.networks, options.seed)
    rows = [
        {"network": code, **{name: float(values[i]) for name, values in latencies.items()}}
        for i, code in enumerate(codes)
    ]
    summary = {"spearman": compare(codes, latencies)}
    report.finish("validity", rows, summary, options.json)


if __name__ == "__main__":
    main(sys.argv[1:])
