"""What measuring the schedules of kernels on a device saves over choosing them by rule.

    python -m benchmarks.tuning --device cpu1 --space nb201 --networks 50 [--json]

Measures every convolution of random networks with each of its schedules, in turns. `gain` is the
share of the networks' time in these kernels that is saved where a schedule is surely faster. The
evidence goes to STORE/tuned/DEVICE-SPACE.json: every sample, the device's fingerprint, the date,
and the `target` that makes the farm use what was chosen; `farm tune` writes that into cluster.yaml.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.networks import model_of, sample
from benchmarks.report import finish
from farm import Farm
from farm.devices.tuning import tune_device
from farm.store import Holding, Store


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    config = Farm.open(options.config, options.store).config
    models = map(model_of, sample(options.space, options.networks, options.seed))
    device = config.device(options.device)
    with Store(config.store) as store, Holding(store, "benchmarks.tuning") as holding:
        holding.wait_for_devices([device.name])
        tuning = tune_device(device, models, holding)
    path = config.store / "tuned" / f"{device.name}-{options.space}.json"
    tuning.write(path)
    print(f"written: {path}", file=sys.stderr)
    rows = [
        {"kernel": choice.group.name, "networks": uses, "gain": choice.gain}
        for choice, uses in zip(tuning.choices, tuning.uses, strict=True)
    ]
    summary = {
        "device": device.name,
        "fingerprint": tuning.facts.fingerprint,
        "kernels": len(rows),
        "tuned": sum(row["gain"] > 0 for row in rows),
        "gain": tuning.gain,
    }
    finish("tuning", rows, summary, options.json)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.tuning", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--device", default="cpu1", help="a CPU of cluster.yaml (cpu1)")
    parser.add_argument("--space", default="nb201", help="whose kernels (nb201)")
    parser.add_argument("--networks", type=int, default=50, help="random networks (50)")
    parser.add_argument("--seed", type=int, default=0, help="draws the networks (0)")
    parser.add_argument("--config", type=Path, default=Path("cluster.yaml"))
    parser.add_argument("--store", type=Path, help="folder of results, instead of the file's")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
