"""Is a latency predictor of one search space a start for another one?

    python -m benchmarks.space_transfer [--devices fpga,raspi4,eyeriss] [--samples 2,4,10,20,40]
        [--seeds 3] [--seed 0] [--json]

Multi-Predict's figure 7: a network that predicts a device from HWL, the latencies on all other
devices that both tables hold, learns 15 % of one space and then a few samples of the other.
Beside it: the same from scratch, on HWL and on Vec. Tested on 2,000 networks of the other space
that are no samples.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import published
from benchmarks.report import finish
from benchmarks.table_file import TableFile, read
from farm.core.errors import FarmError, UnknownName
from predictors import FloatArray, IntArray, metrics
from predictors.encodings.hwl import clipped, root
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.encodings.vec import one_hot
from predictors.models.multi_predict import SpaceTransfer, TransferSettings

WAYS = (("fbnet", "nb201"), ("nb201", "fbnet"))
SHARE = 0.15
TESTS = 2000
DEVICES = ("fpga", "raspi4", "eyeriss")
PAPER = TransferSettings()


@dataclass(frozen=True)
class Options:
    """devices: the targets, one after the other. settings: of the network; the paper's."""

    devices: tuple[str, ...]
    samples: tuple[int, ...]
    seeds: range
    settings: TransferSettings = PAPER


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    seeds = range(parsed.seed, parsed.seed + parsed.seeds)
    options = Options(tuple(parsed.devices), tuple(parsed.samples), seeds)
    try:
        rows = list(run(published.folder(parsed.data), options))
    except FarmError as error:
        print(f"space_transfer: {error}", file=sys.stderr)
        return error.exit_code
    finish("space_transfer", rows, summary(rows), parsed.json)
    return 0


def run(data: Path, options: Options) -> Iterator[dict[str, Any]]:
    """A row for each way, device, method and number of samples: Spearman, the mean over seeds."""
    tables = {name: read(data / f"{name}.npz") for way in WAYS for name in way}
    for (first, second), device in ((w, d) for w in WAYS for d in options.devices):
        print(f"{first} to {second}: {device}", file=sys.stderr)
        for method, found in _device(tables[first], tables[second], device, options).items():
            keys = {"from": first, "to": second, "device": device, "method": method}
            for samples, ranks in found.items():
                yield {**keys, "samples": samples, "spearman": float(np.mean(ranks))}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """mean_spearman: {"FROM to TO": {method: {samples: rho}}}, over devices."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        way, n = f"{row['from']} to {row['to']}", row["samples"]
        same = [
            r["spearman"]
            for r in rows
            if all(r[key] == row[key] for key in ("from", "to", "method", "samples"))
        ]
        found.setdefault(way, {}).setdefault(row["method"], {})[str(n)] = float(np.mean(same))
    return {"mean_spearman": found}


def _device(
    first: TableFile, second: TableFile, device: str, options: Options
) -> dict[str, dict[int, list[float]]]:
    """{method: {samples: Spearman of each seed}} for one target."""
    others = [d for d in first.devices if d in second.devices and d != device]
    known, new = (_hwl(table, others) for table in (first, second))
    learnt = np.random.default_rng(options.seeds.start).permutation(len(known))
    learnt = learnt[: int(SHARE * len(known))]
    latency_s, settings = _column(first, device)[learnt], options.settings
    untrained = replace(settings, pretraining=replace(settings.pretraining, epochs=0))
    vec = _standardised(one_hot(second.ops, len(second.op_names)))
    methods = {
        "transfer": (SpaceTransfer.pretrained(known[learnt], latency_s, settings), new),
        "hwl": (SpaceTransfer.pretrained(known[learnt], latency_s, untrained), new),
        "vec": (SpaceTransfer.pretrained(vec, _column(second, device), untrained), vec),
    }
    truth_s = _column(second, device)
    return {
        name: {n: [_rank(*method, truth_s, n, s) for s in options.seeds] for n in options.samples}
        for name, method in methods.items()
    }


def _rank(model: SpaceTransfer, x: FloatArray, latency_s: FloatArray, n: int, seed: int) -> float:
    order: IntArray = np.random.default_rng(seed).permutation(len(x))
    samples, tests = order[:n], order[n : n + TESTS]
    predict = model(x[samples], np.log(latency_s[samples]))
    return metrics.spearman(predict(x[tests]), latency_s[tests]) or 0.0


def _hwl(table: TableFile, devices: Sequence[str]) -> FloatArray:
    """(N, R), of the space alone: another space's latencies are of another size."""
    latency_s = np.stack([_column(table, device) for device in devices], axis=1)
    return _standardised(clipped(_standardised(root(latency_s / np.median(latency_s, axis=0)))))


def _column(table: TableFile, device: str) -> FloatArray:
    if device not in table.devices:
        raise UnknownName("device", device, table.devices)
    return np.asarray(table.latency_s[:, table.devices.index(device)])


def _standardised(values: FloatArray) -> FloatArray:
    return Standardisation.fit(values, TrainingRows.every(values)).apply(values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.space_transfer", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, help="folder of tables (default: $FARM_DATA)")
    add("--devices", type=lambda text: text.split(","), default=DEVICES, help="targets")
    add("--samples", type=_counts, default=(2, 4, 10, 20, 40), help="of a target (2,4,10,20,40)")
    add("--seeds", type=int, default=3, help="draws of samples (3)")
    add("--seed", type=int, default=0, help="the first one, also of the networks learnt from (0)")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _counts(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
