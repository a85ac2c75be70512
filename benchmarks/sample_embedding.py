"""Why do Multi-Predict's Sample embeddings rank better here than published?

    python -m benchmarks.sample_embedding [--tasks ND,FD] [--seeds 5] [--seed 0] [--json]

Sample tells a device by its latencies on ten fixed networks. Here those are scaled to between 0 and
1 on each device, as HELP scales them; `raw` takes them in milliseconds as they are, which the paper
does not exclude. Either way the ten are measured on a target, besides the samples that it is tuned
on. Beside them Index and the learned table, on the same samples.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import neural, published
from benchmarks.evaluate import Options, Prepared
from benchmarks.report import finish
from benchmarks.tasks import TASKS, Task
from farm.core.errors import FarmError, UnknownName
from predictors import FloatArray, IntArray, metrics
from predictors.acquisition import Pool, random
from predictors.models.devices import by_roots
from predictors.models.embedding_networks import normalised
from predictors.models.multi_predict import EmbeddingKind, MultiPredict

EMBEDDINGS: tuple[EmbeddingKind, ...] = ("raw", "sample", "index", "table")
SAMPLES = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    data, seeds = published.folder(parsed.data), range(parsed.seed, parsed.seed + parsed.seeds)
    try:
        rows = [row for name in parsed.tasks for row in run(data, _task(name), seeds)]
    except FarmError as error:
        print(f"sample_embedding: {error}", file=sys.stderr)
        return error.exit_code
    finish("sample_embedding", rows, summary(rows), parsed.json)
    return 0


def run(data: Path, task: Task, seeds: range) -> Iterator[dict[str, Any]]:
    """A row for each embedding and device: Spearman over the networks that are no samples, the
    mean over `seeds`, which draw the samples; the first draws the training networks."""
    table = published.load(data / f"{task.space}.npz")
    case = Prepared.of(table, task, Options((SAMPLES,), (), seed=seeds.start)).case
    features = case.encoding("vec")
    for embedding in EMBEDDINGS:
        print(f"{task.name}: {embedding}", file=sys.stderr)
        model = neural.pretrained(case, features, embedding)
        for device in task.test:
            latency_s = table.column(device)
            ranks = [_rank(model, features, latency_s, seed) for seed in seeds]
            keys = {"task": task.name, "embedding": embedding, "device": device}
            yield {**keys, "spearman": float(np.mean(ranks))}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """mean_spearman: {task: {embedding: rho}}, over devices."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        ranks = found.setdefault(row["task"], {}).setdefault(row["embedding"], [])
        ranks.append(row["spearman"])
    means = {t: {e: float(np.mean(r)) for e, r in own.items()} for t, own in found.items()}
    return {"mean_spearman": means}


def _rank(model: MultiPredict, features: FloatArray, latency_s: FloatArray, seed: int) -> float:
    """Of one device. A network that says the same of all others cannot rank: 0."""
    unmeasured = np.flatnonzero(~np.isfinite(latency_s))
    samples = random(Pool(features, seed, unmeasured), (), SAMPLES)
    adapt = partial(model.adapt, hardware=_measured(model, latency_s))
    predict = by_roots(adapt, features[samples], np.log(latency_s[samples]))
    tests = np.setdiff1d(np.flatnonzero(np.isfinite(latency_s)), samples)
    return metrics.spearman(predict(features[tests]), latency_s[tests]) or 0.0


def _measured(model: MultiPredict, latency_s: FloatArray) -> FloatArray | None:
    """The embedding of a target that is measured; None where it is not made of latencies."""
    networks: IntArray = model.training.rows[model.embedding_networks]
    if model.settings.embedding == "raw":
        return 1e3 * latency_s[networks]
    sample = model.settings.embedding == "sample"
    return normalised(np.sqrt(latency_s[networks])) if sample else None


def _task(name: str) -> Task:
    if name not in TASKS:
        raise UnknownName("task", name, tuple(TASKS))
    return TASKS[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.sample_embedding", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, help="folder of tables (default: $FARM_DATA)")
    add("--tasks", type=lambda text: text.split(","), default=("ND", "FD"), help="ND,FD")
    add("--seeds", type=int, default=5, help="draws of samples (5)")
    add("--seed", type=int, default=0, help="the first one, also of the training networks (0)")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
