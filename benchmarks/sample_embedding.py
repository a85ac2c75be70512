"""Why do Multi-Predict's Index and Sample embeddings rank better here than published?

    python -m benchmarks.sample_embedding [--tasks ND,FD] [--seeds 3] [--seed 0] [--json]
        [--training published] [--choices]

The authors' published code tunes a network with the target's own embedding, but predicts with that
of the device whose number in a list of all devices is the target's in a list of training and test
devices (`device_idx_to_emb[device_idx_mapper[name]]`, utils.py, get_allarch_data): FBNet's fpga is
predicted as titan_rtx_1. The learned table knows no such lists. `mixed up` does as that code does.

`--choices`: also what the square of errors, a tuned encoder, and square roots of latencies do to
the learned table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import neural, published
from benchmarks.arguments import natural, positive, words
from benchmarks.contract import TRAININGS, Case
from benchmarks.evaluate import Options, Prepared
from benchmarks.report import finish, say
from benchmarks.tasks import TASKS, Task
from farm.core.errors import FarmError, UnknownName
from predictors import FloatArray, metrics
from predictors.acquisition import Pool, random
from predictors.models.devices import by_levels
from predictors.models.multi_predict import MultiPredict, Settings, bits

VARIANTS: dict[str, dict[str, Any]] = {
    "table": {},
    "index": {"embedding": "index"},
    "sample": {"embedding": "sample"},
}
CHOICES: dict[str, dict[str, Any]] = {
    "table, squared errors": {"squared": True},
    "table, encoder tuned": {"frozen": False},
    "table, square roots": {"bent": True},
}
SAMPLES = 10

LISTED = {
    "ND": ["samsung_a50", "silver_4210r", "titan_rtx_32", "titanx_32", "titanxp_32", "1080ti_256"],
    "FD": ["titan_rtx_1", "titan_rtx_64", "titanx_32"],
}
"""The devices that the authors' code predicts as, one for each test device: those from number 9 on
in its lists of all devices (utils.py, get_full_device_list)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    data, seeds = published.folder(parsed.data), range(parsed.seed, parsed.seed + parsed.seeds)
    variants = {**VARIANTS, **(CHOICES if parsed.choices else {})}
    options = Options((SAMPLES,), (), seed=parsed.seed, training=parsed.training)
    try:
        rows = []
        for name in parsed.tasks:
            if name not in TASKS:
                raise UnknownName("task", name, tuple(TASKS))
            rows += list(run(data, TASKS[name], seeds, variants, options))
    except FarmError as error:
        say(f"sample_embedding: {error}")
        return error.exit_code
    finish("sample_embedding", rows, summary(rows), parsed.json)
    return 0


def run(
    data: Path,
    task: Task,
    seeds: range,
    variants: dict[str, dict[str, Any]],
    options: Options,
) -> Iterator[dict[str, Any]]:
    """A row for each variant and device: Spearman over the networks that are no samples, the
    mean over `seeds`, which draw the samples; the first draws the training networks."""
    table = published.load(data / f"{task.space}.npz")
    case = Prepared.of(table, task, options).case
    for name, changed in variants.items():
        say(f"{task.name}: {name}")
        settings: Settings = replace(neural.BUDGETS[case.training].multi_predict, **changed)
        model, features = neural.pretrained(case, "vec", settings)
        for device, other in zip(task.test, LISTED.get(task.name, task.test), strict=True):
            latency_s = table.column(device)
            found = {name: None}
            if settings.embedding != "table":
                found[f"{name}, mixed up"] = _embedded(case, model, other)
            for called, asked in found.items():
                ranks = [_rank(case, model, features, latency_s, s, asked) for s in seeds]
                keys = {"task": task.name, "embedding": called, "device": device}
                yield {**keys, "spearman": float(np.mean(ranks))}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """mean_spearman: {task: {embedding: rho}}, over devices."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        ranks = found.setdefault(row["task"], {}).setdefault(row["embedding"], [])
        ranks.append(row["spearman"])
    means = {t: {e: float(np.mean(r)) for e, r in own.items()} for t, own in found.items()}
    return {"mean_spearman": means}


def _embedded(case: Case, model: MultiPredict, device: str) -> FloatArray:
    """(d,), the embedding of any device of the table, by its number or over its own range."""
    if model.settings.embedding == "index":
        return bits(case.table.devices.index(device))
    known_s = case.table.column(device)
    low, high = np.nanmin(known_s), np.nanmax(known_s)
    return np.asarray((known_s[case.describing] - low) / (high - low))


def _rank(
    case: Case,
    model: MultiPredict,
    features: FloatArray,
    latency_s: FloatArray,
    seed: int,
    asked: FloatArray | None,
) -> float:
    """Of one device. A network that says the same of all others cannot rank: 0. Sample measures the
    describing networks besides, as in the paper."""
    unmeasured = np.flatnonzero(~np.isfinite(latency_s))
    samples = random(Pool(features, seed, unmeasured), (), SAMPLES)
    if model.settings.embedding == "sample":
        samples = np.union1d(samples, case.describing)
    adapt = partial(model.adapt, asked=asked)
    predict = by_levels(adapt, features[samples], np.log(latency_s[samples]), model.settings.bent)
    tests = np.setdiff1d(np.flatnonzero(np.isfinite(latency_s)), samples)
    return metrics.spearman(predict(features)[tests], latency_s[tests]) or 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.sample_embedding", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, help="folder of tables (default: $FARM_DATA)")
    add("--tasks", type=words, default=("ND", "FD"), help="ND,FD")
    add("--seeds", type=positive, default=3, help="draws of samples (3)")
    add("--seed", type=natural, default=0, help="the first one, also of the training networks (0)")
    add("--training", choices=TRAININGS, default=TRAININGS[0], help="how long networks train")
    add("--choices", action="store_true", help="also what the loss, the encoder and roots do")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
