"""Do measured latencies rank networks as published ones do?

    python -m benchmarks.validity --networks 100 --seed 0 [--devices cpu1,a72] [--json]
        [--config cluster.yaml] [--results FILE] [--executor inline]

Measures random NAS-Bench-201 networks in a campaign of its own and compares them, by Spearman's
rank correlation, with their multiply-accumulates and with the published columns of other devices.
The devices are those of benchmarks/validity.yaml, or of any other configuration. With --results,
what FILE holds of other devices stays, and what is measured is added. Published tables come from
$FARM_DATA, else ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.published import folder
from farm import Farm, Launch
from farm.cli.progress import watching
from farm.spaces import space
from farm.store import Store
from predictors.metrics import spearman

COLUMNS = ("silver_4114", "gold_6226", "raspi4", "pixel3", "titan_rtx_1", "eyeriss", "fpga")


def measured(
    options: argparse.Namespace, devices: Sequence[str]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Codes (N,) of the networks that every device measured, and (N,) seconds for each device."""
    with TemporaryDirectory() as scratch, watching() as watch:
        farm = Farm.open(options.config, scratch)
        farm.launch(
            Launch(
                kernels=False,
                space="nb201",
                devices=devices,
                budget=options.networks,
                holdout=0,
                seed=options.seed,
                select="random",
            ),
            executor=options.executor,
            watch=watch,
        )
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


def compare(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """{device: {column: Spearman}}, each over the networks that the device measured.

    rows: a `network` and seconds by device.
    """
    devices = dict.fromkeys(key for row in rows for key in row if key != "network")
    return {device: _compare(device, [row for row in rows if device in row]) for device in devices}


def _compare(device: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    own = np.array([row[device] for row in rows])
    against = peers([row["network"] for row in rows])
    return {name: spearman(np.asarray(values, float), own) for name, values in against.items()}


def merged(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each network of either; a device that both have keeps nothing of `before`."""
    renewed = {key for row in now for key in row if key != "network"}
    found: dict[str, dict[str, Any]] = {}
    for row in before:
        found[row["network"]] = {key: row[key] for key in row if key not in renewed}
    for row in now:
        found.setdefault(row["network"], {}).update(row)
    return [row for row in found.values() if len(row) > 1]


def _rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    devices = options.devices.split(",")
    codes, latencies = measured(options, devices)
    now = [
        {"network": code, **{name: float(values[i]) for name, values in latencies.items()}}
        for i, code in enumerate(codes)
    ]
    if options.results is None or not options.results.exists():
        return now
    return merged(json.loads(options.results.read_text())["rows"], now)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.validity", description=__doc__)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", default="cpu1", help="names, with commas")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_suffix(".yaml"))
    parser.add_argument("--executor", default="ray", help="ray, or inline: one after the other")
    parser.add_argument("--results", type=Path, help="a file that is kept up to date")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    rows = _rows(options)
    summary = {"spearman": compare(rows)}
    if options.results is not None:
        whole = report.whole("validity", rows, summary)
        options.results.write_text(json.dumps(whole) + "\n")
    report.finish("validity", rows, summary, options.json)


if __name__ == "__main__":
    main(sys.argv[1:])
