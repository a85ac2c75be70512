"""How well a graph network that was meta-learned on some tasks predicts accuracies of another one.

    python -m benchmarks.metalearn --data accuracy_tb101_micro.npz --samples 5,25
    python -m benchmarks.metalearn --data accuracy_nb101.npz --pretrain accuracy_nb201.npz
    python -m benchmarks.metalearn --data nb201.npz --of cifar10,cifar100,raspi4,gold_6226
    python -m benchmarks.metalearn --data FILE.npz --width 600 --iterations 2000 --json

MP-NAS (Loya et al. 2023), tables 2, 3, 4 and 6: a start learnt by MAML, ANIL or BOIL from all other
tasks of the file, on half of its networks, or from those of `--pretrain`; then adapted to a few
samples of the other half and judged on the rest of it. 0 samples: the start as it is. Beside it a
random start, trained as BRP-NAS; starts that learnt one other task each, their mean (naive); and
our mixture, on operations alone and with zero-cost proxies. The paper's size is `--width 600
--iterations 12800 --rate 8e-5 --dropout .2`, hours for each start; what is set where nothing is
said takes less.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy_file import AccuracyFile
from benchmarks.accuracy_methods import Learner
from benchmarks.arguments import counts, natural, paths, positive, words
from benchmarks.latency_tasks import find
from benchmarks.meta_methods import METHODS, Case, ZeroShot
from benchmarks.report import finish, keeping, say
from farm.core.errors import FarmError, UnknownName, UsageError
from predictors import FloatArray, IntArray, metrics
from predictors.models.cell_gcn import Size
from predictors.models.meta import LEARNERS, Settings

SAMPLES = (5,)
SEEDS = 3
WIDTH, ITERATIONS, RATE = 128, 60, 1e-3

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """methods: names of METHODS. seeds: each draws samples. settings: of the meta-learners. tasks:
    to predict, all where none is named."""

    methods: tuple[str, ...]
    samples: tuple[int, ...]
    seeds: range
    settings: Settings
    tasks: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know and files that do not fit, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    try:
        options = _options(parsed)
        file, pretrain = _table(parsed), [find(path) for path in parsed.pretrain]
        rows = list(keeping(run(file, pretrain, options), parsed.rows))
    except FarmError as error:
        say(f"metalearn: {error}")
        return error.exit_code
    finish("metalearn", rows, summary(rows), parsed.json)
    return 0


def run(file: AccuracyFile, pretrain: Sequence[AccuracyFile], options: Options) -> Iterator[Row]:
    """A row for each task, method and number of samples: Spearman, the mean over starts and seeds.

    Raises UsageError where no task is left to learn from, or too few networks to judge by.
    """
    for task in file.named(options.tasks):
        case = Case.of(file, task, pretrain, options.settings)
        _check(case, options)
        for method in options.methods:
            began = time.process_time()
            learners = METHODS[method](case)
            keys = {
                "table": file.name,
                "learnt_from": sorted({other.name for other, _ in case.others}),
                "task": task,
                "method": method,
                "train_s": time.process_time() - began,
            }
            yield from _rows(case, keys, learners, options)
            say(f"{file.name}/{task}: {method}")


def _rows(case: Case, keys: Row, learners: Sequence[Learner], options: Options) -> Iterator[Row]:
    for count in options.samples:
        if count == 0 and not all(isinstance(one.rule, ZeroShot) for one in learners):
            continue
        found = [_rank(case, one, count, seed) for one in learners for seed in options.seeds]
        ranks = [rho for rho in found if rho is not None]
        mean, std = (float(f(ranks)) if ranks else None for f in (np.mean, np.std))
        yield {**keys, "samples": count, "spearman": mean, "std": std}


def _rank(case: Case, learner: Learner, count: int, seed: int) -> float | None:
    """Spearman on fresh networks that are no samples; None where these are all alike."""
    order: IntArray = np.random.default_rng(seed).permutation(case.fresh)
    samples, tests = order[:count], order[count:]
    if not np.ptp(case.accuracy[tests]) > 0:
        return None
    return metrics.spearman(_scores(case, learner, samples, tests), case.accuracy[tests]) or 0.0


def _scores(case: Case, learner: Learner, samples: IntArray, tests: IntArray) -> FloatArray:
    if not len(samples) and isinstance(learner.rule, ZeroShot):
        return learner.rule.known(learner.x[tests])
    return learner.rule(learner.x[samples], case.accuracy[samples])(learner.x[tests])


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """spearman: {method: {task: rho}} at the fewest samples (not 0, unless nothing else was asked);
    by_samples: {method: {samples: mean over tasks}}; train_s: the longest meta-training of a task,
    CPU seconds, None without any."""
    counted = sorted({row["samples"] for row in rows})
    shown = next((count for count in counted if count), 0)
    spearman: dict[str, dict[str, float | None]] = {}
    by_samples: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["samples"] == shown:
            spearman.setdefault(row["method"], {})[row["task"]] = row["spearman"]
        if row["spearman"] is not None:
            of_method = by_samples.setdefault(row["method"], {})
            of_method.setdefault(str(row["samples"]), []).append(row["spearman"])
    means = {m: {n: float(np.mean(v)) for n, v in of.items()} for m, of in by_samples.items()}
    learnt = [row["train_s"] for row in rows if row["method"] in LEARNERS]
    return {"spearman": spearman, "by_samples": means, "train_s": max(learnt, default=None)}


def _check(case: Case, options: Options) -> None:
    if not case.others:
        raise UsageError(
            f"meta-learning needs another task than {case.task!r}, and {case.file.name} has no "
            "other; name tables to learn from with `--pretrain`"
        )
    most = len(case.fresh) - metrics.FEWEST
    if max(options.samples) > most:
        raise UsageError(
            f"`--samples` must leave {metrics.FEWEST} networks to judge by: {case.file.name} has "
            f"{len(case.fresh)} that nothing was learnt on, so at most {most}, got "
            f"{max(options.samples)}"
        )


def _table(parsed: argparse.Namespace) -> AccuracyFile:
    file = find(parsed.data)
    count = min(parsed.networks or len(file.code), len(file.code))
    drawn = np.random.default_rng(parsed.seed).permutation(len(file.code))[:count]
    return file.some(parsed.of, np.sort(drawn))


def _options(parsed: argparse.Namespace) -> Options:
    names = list(METHODS) if parsed.method == ["all"] else parsed.method
    for name in names:
        if name not in METHODS:
            raise UnknownName("method", name, [*METHODS, "all"])
    if 1 in parsed.samples:
        raise UsageError("`--samples` must be 0, or 2 or more, got 1; one accuracy ranks nothing")
    settings = Settings(
        size=Size(parsed.width, parsed.depth, parsed.dropout, even=True),
        second_order=parsed.second_order,
        iterations=parsed.iterations,
        outer_rate=parsed.rate,
        starts=parsed.starts,
        seed=parsed.seed,
    )
    seeds = range(parsed.seed, parsed.seed + parsed.seeds)
    return Options(tuple(names), parsed.samples, seeds, settings, tuple(parsed.task))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.metalearn", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the table whose tasks are predicted")
    add("--pretrain", type=paths, default=[], help="tables to learn from instead of its own tasks")
    add(
        "--samples", type=counts, default=SAMPLES, help="trained networks of a task, 0 for none (5)"
    )
    add("--method", type=words, default=list(METHODS), help=f"of {', '.join(METHODS)}, or all")
    add("--of", type=words, default=[], help="tasks of the table that there are (all)")
    add("--task", type=words, default=[], help="those of them that are predicted (all)")
    add("--networks", type=positive, help="of the table, drawn by the seed (all)")
    add("--width", type=positive, default=WIDTH, help=f"of a graph convolution ({WIDTH})")
    add("--depth", type=positive, default=4, help="graph convolutions (4)")
    add("--iterations", type=natural, default=ITERATIONS, help=f"outer steps ({ITERATIONS})")
    add("--rate", type=_rate, default=RATE, help=f"of the outer steps ({RATE:g})")
    add("--dropout", type=_share, default=0.0, help="of a convolution's numbers, in training (0)")
    add("--second-order", action="store_true", help="with the slopes of the inner steps' slopes")
    add("--starts", type=positive, default=3, help="learnt for each task, the mean is taken (3)")
    add("--seeds", type=positive, default=SEEDS, help=f"draws of samples ({SEEDS})")
    add("--seed", type=natural, default=0, help="the first one, also of what is learnt from (0)")
    add("--rows", type=Path, help="a file to which each row is added when it is found")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _share(text: str) -> float:
    return 0.0 if text.strip() in ("0", "0.0") else _rate(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
