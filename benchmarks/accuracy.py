"""How well accuracies of networks are predicted from few that were trained, on published tables.

    python -m benchmarks.accuracy --data accuracy_nb201.npz --samples 5,10,25,50
    python -m benchmarks.accuracy --data FILE.npz --pretrain accuracy_tb101_micro.npz,... \\
        --samples 5,10,25,50 --seed 0 --json

Multi-Predict's section 5: a small network on Vec, on zero-cost proxies (ZCP) or on both, from
scratch; and with `--pretrain`, one on ZCP that learnt 15 % of another task and is fine-tuned
(figure 9). Beside them our mixture, on the same encodings and tasks. Judged by Spearman on all
networks that are no samples. Tasks of the file itself may be learnt from, except the tested one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy_file import AccuracyFile, find
from benchmarks.accuracy_methods import METHODS, TRANSFER, Case, Learner
from benchmarks.arguments import counts, natural, paths, positive, words
from benchmarks.report import finish, say
from farm.core.errors import FarmError, UnknownName, UsageError
from predictors import IntArray, metrics

SAMPLES = (5, 10, 25, 50)
SEEDS = 3
QUICK = ("vec", "zcp", "zcpvec", "mixture", *TRANSFER)
"""Where no method is named: all but those that take minutes a task."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """methods: names of METHODS. tasks: to predict, all where none is named. seeds: each draws
    samples; the first one, what is learnt from."""

    methods: tuple[str, ...]
    samples: tuple[int, ...] = SAMPLES
    seeds: range = range(SEEDS)
    tasks: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know and files that do not fit, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    try:
        options = _options(parsed)
        files = _tables([*parsed.data, *parsed.pretrain], parsed.without)
        tested, pretrain = files[: len(parsed.data)], files[len(parsed.data) :]
        rows = list(run(tested, pretrain, options))
    except FarmError as error:
        say(f"accuracy: {error}")
        return error.exit_code
    finish("accuracy", rows, summary(rows), parsed.json)
    return 0


def run(
    files: Sequence[AccuracyFile], pretrain: Sequence[AccuracyFile], options: Options
) -> Iterator[Row]:
    """A row for each task, method, task that it learnt from, and number of samples: Spearman, the
    mean over seeds. Raises UsageError where samples leave too few networks to judge by."""
    for file in files:
        for task in file.named(options.tasks):
            case = Case.of(file, task, pretrain, options.seeds.start)
            _check(case, options)
            named = task if len(files) == 1 else f"{file.name}/{task}"
            for method in options.methods:
                for learner in _learners(case, method):
                    yield from _rows(case, {"task": named, "method": method}, learner, options)


def _learners(case: Case, method: str) -> Iterator[Learner]:
    made = list(METHODS[method](case))
    if not made:
        say(f"{case.file.name}/{case.task}: {method} is left out, {case.lacks(method)}")
    yield from made


def _rows(case: Case, keys: Row, learner: Learner, options: Options) -> Iterator[Row]:
    for count in options.samples:
        found = [_rank(case, learner, count, seed) for seed in options.seeds]
        ranks = [rho for rho in found if rho is not None]
        mean = float(np.mean(ranks)) if ranks else None
        std = float(np.std(ranks)) if ranks else None
        yield {**keys, "from": learner.source, "samples": count, "spearman": mean, "std": std}


def _rank(case: Case, learner: Learner, count: int, seed: int) -> float | None:
    """Spearman on what is left; 0 for a method that finds all networks alike, None where these
    are alike themselves."""
    order: IntArray = np.random.default_rng(seed).permutation(case.known)
    samples, tests = order[:count], order[count:]
    scores = learner.rule(learner.x[samples], case.accuracy[samples])(learner.x[tests])
    if not np.ptp(case.accuracy[tests]) > 0:
        return None
    return metrics.spearman(scores, case.accuracy[tests]) or 0.0


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """spearman: {method: {task: {samples: rho}}}, over the tasks learnt from; transfer_better:
    {samples: share of pairs of tasks in which transfer ranks better than Vec from scratch}."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in rows:
        of_task = found.setdefault(row["method"], {}).setdefault(row["task"], {})
        of_task[str(row["samples"])] = _mean(rows, row)
    return {"spearman": found, "transfer_better": _better(rows)}


def _mean(rows: Sequence[Row], like: Row) -> float | None:
    keys = ("method", "task", "samples")
    same = [row["spearman"] for row in rows if all(row[key] == like[key] for key in keys)]
    known = [rho for rho in same if rho is not None]
    return float(np.mean(known)) if known else None


def _better(rows: Sequence[Row]) -> dict[str, float]:
    scratch = {(r["task"], r["samples"]): r["spearman"] for r in rows if r["method"] == "vec"}
    wins: dict[str, list[bool]] = {}
    for row in rows:
        before = scratch.get((row["task"], row["samples"]))
        if row["method"] == "zcp_transfer" and None not in (before, row["spearman"]):
            wins.setdefault(str(row["samples"]), []).append(row["spearman"] > before)
    return {samples: float(np.mean(better)) for samples, better in wins.items()}


def _check(case: Case, options: Options) -> None:
    most = len(case.known) - metrics.FEWEST
    if max(options.samples) > most:
        raise UsageError(
            f"`--samples` must leave {metrics.FEWEST} networks to judge by: {case.file.name} has "
            f"{len(case.known)} with a known {case.task!r}, so at most {most}, got "
            f"{max(options.samples)}"
        )


def _tables(named: Sequence[Path], without: Sequence[str]) -> list[AccuracyFile]:
    """Raises UnknownName for a proxy to leave out that none of them has."""
    files = [find(path) for path in named]
    known = {name for file in files for name in file.zcp_names}
    for name in without:
        if name not in known:
            raise UnknownName("proxy", name, known)
    return [file.without(without) for file in files]


def _options(parsed: argparse.Namespace) -> Options:
    asked = parsed.method or QUICK
    names = [*METHODS] if asked == ["all"] else asked
    for name in names:
        if name not in METHODS:
            raise UnknownName("method", name, [*METHODS, "all"])
    without = not parsed.pretrain
    if without and parsed.method and parsed.method != ["all"] and set(TRANSFER) & set(names):
        raise UsageError(f"{', '.join(TRANSFER)} learn from other tasks: name them, `--pretrain`")
    if min(parsed.samples) < 2:
        raise UsageError(
            f"`--samples` must be 2 or more, got {min(parsed.samples)}; a model of one "
            "accuracy ranks nothing"
        )
    kept = tuple(name for name in names if not (without and name in TRANSFER))
    seeds = range(parsed.seed, parsed.seed + parsed.seeds)
    return Options(kept, parsed.samples, seeds, tuple(parsed.task))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=paths, required=True, help="tables whose tasks are predicted, A.npz,B.npz")
    add("--pretrain", type=paths, default=[], help="tables whose tasks are learnt from")
    add("--samples", type=counts, default=SAMPLES, help="trained networks (5,10,25,50)")
    add("--method", type=words, help=f"of {', '.join(METHODS)}, or all ({', '.join(QUICK)})")
    add("--task", type=words, default=[], help="tasks of the tables that are predicted (all)")
    add("--without", type=words, default=[], help="proxies to leave out, A,B")
    add("--seeds", type=positive, default=SEEDS, help=f"draws of samples ({SEEDS})")
    add("--seed", type=natural, default=0, help="the first one, also of what is learnt from (0)")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
