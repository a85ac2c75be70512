"""How well each method predicts a new device from few samples, on published tables.

    python -m benchmarks.fewshot --task all --method mixture,gp,ridge,nearest,flops --select active

A method learns from `--pretrain` networks on each training device and from a few samples of a
test device, and is judged on all other networks of the table (`--protocol all`, NASFLAT's, but
for the samples) or as HELP does (`--protocol help`): samples from the training networks and
tests on the next 1,000, each without the target's fastest and slowest tenth. One draw of
training networks serves all seeds; a seed draws the samples, or the candidates for `active`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import published
from benchmarks.methods import ENCODINGS, METHODS, Case, Method, Prediction, ridge
from benchmarks.published import Table
from benchmarks.report import finish
from benchmarks.tasks import TASKS, Task
from farm.errors import FarmError, UnknownName, UsageError
from predictors import FloatArray, IntArray, metrics
from predictors.acquisition import random, variance
from predictors.encodings.hwl import References
from predictors.encodings.normalisation import TrainingRows

HELP_TESTS = 1000
HELP_TRIM = 0.1
"""HELP's loader: tests after the training networks, and the share cut off at either end."""


@dataclass(frozen=True)
class Options:
    """What is asked for; see `--help`. pretrain: None for each task's own number."""

    pretrain: int | None
    samples: tuple[int, ...]
    select: str
    methods: tuple[str, ...]
    encoding: str
    seeds: int
    seed: int
    protocol: str


@dataclass(frozen=True)
class Outcome:
    """One method on one device from some samples; metrics as in `predictors.metrics`."""

    task: str
    method: str
    device: str
    samples: int
    seed: int
    spearman: float | None
    kendall: float | None
    within_5: float | None
    within_10: float | None
    coverage_95: float | None
    fit_choose_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    try:
        tasks, options = _tasks(parsed), _options(parsed)
        result = run(tasks, published.folder(parsed.data), options)
    except FarmError as error:
        print(f"fewshot: {error}", file=sys.stderr)
        return error.exit_code
    finish("fewshot", result["rows"], result["summary"], parsed.json)
    return 0


def run(tasks: Sequence[Task], data: Path, options: Options) -> dict[str, Any]:
    """`rows`: one for each task, method, device and number of samples. `summary`: see design."""
    outcomes: list[Outcome] = []
    pretrain_s = {}
    for task in tasks:
        table = published.load(data if data.is_file() else data / f"{task.space}.npz")
        references, tests = _prepare(table, task, options)
        start = time.perf_counter()
        case = Case.of(table, references)
        pretrain_s[task.name] = time.perf_counter() - start
        print(f"{task.name}: pretrained in {pretrain_s[task.name]:.1f} s", file=sys.stderr)
        for seed in range(options.seed, options.seed + options.seeds):
            outcomes += _evaluate(case, task, options, seed, tests)
    return {"rows": rows(outcomes), "summary": summary(outcomes, pretrain_s)}


def _prepare(table: Table, task: Task, options: Options) -> tuple[References, IntArray]:
    """The references with their training networks, and the networks to test on."""
    order = np.random.default_rng(options.seed).permutation(len(table.latency_s))
    pretrain = min(options.pretrain or task.pretrain, len(order))
    rows, rest = order[:pretrain], order[pretrain : pretrain + HELP_TESTS]
    tests = np.arange(len(order)) if options.protocol == "all" else rest
    held_out = tests if options.protocol == "help" else ()
    latency_s = table.latency_s[:, published.split(table, task.train)]
    published.split(table, task.test)
    try:
        references = References(latency_s, task.train, TrainingRows.of(rows, held_out))
        for device in task.test:
            references.without(device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return references, tests


def _evaluate(
    case: Case, task: Task, options: Options, seed: int, tests: IntArray
) -> Iterator[Outcome]:
    """Every method on every test device, from nested samples."""
    for device in task.test:
        measured_s = case.table.column(device)
        barred, judged = _protocol(case, options, measured_s, tests)
        start = time.perf_counter()
        chosen = _choose(case, options, seed, barred)
        choose_s = time.perf_counter() - start
        for n in options.samples:
            rest = np.setdiff1d(judged, chosen[:n])
            for name in options.methods:
                start = time.perf_counter()
                method = _method(name, options)
                predicted = method(case, chosen[:n], measured_s[chosen[:n]])
                spent_s = choose_s + time.perf_counter() - start
                scores = _scores(predicted, measured_s, rest)
                yield Outcome(task.name, name, device, n, seed, *scores, spent_s)


def _protocol(
    case: Case, options: Options, measured_s: FloatArray, tests: IntArray
) -> tuple[IntArray, IntArray]:
    """(networks that may not be samples, networks to judge by)."""
    if options.protocol == "all":
        return np.empty(0, np.intp), tests
    low, high = np.quantile(measured_s, [HELP_TRIM, 1 - HELP_TRIM])
    middle = np.flatnonzero((measured_s >= low) & (measured_s <= high))
    allowed = np.intersect1d(case.references.rows.indices, middle)
    return np.setdiff1d(np.arange(len(measured_s)), allowed), np.intersect1d(tests, middle)


def _choose(case: Case, options: Options, seed: int, barred: IntArray) -> IntArray:
    """The samples, the same for every method: chosen by our model's prior, or by chance."""
    choose = variance if options.select == "active" else random
    n, features = max(options.samples), case.mixture.features
    return choose(features, (), n, seed, prior=case.mixture, barred=barred)


def _method(name: str, options: Options) -> Method:
    return partial(ridge, encoding=options.encoding) if name == "ridge" else METHODS[name]


def _scores(
    predicted: Prediction, measured_s: FloatArray, rows: IntArray
) -> tuple[float | None, ...]:
    """The metrics of `Outcome`, in its order."""
    truth = measured_s[rows]
    ranks = predicted.score[rows]
    found: list[float | None] = [metrics.spearman(ranks, truth), metrics.kendall(ranks, truth)]
    latency_s, interval_s = predicted.latency_s, predicted.interval_s
    for share in (0.05, 0.1):
        found.append(None if latency_s is None else metrics.within(latency_s[rows], truth, share))
    if interval_s is None:
        return (*found, None)
    return (*found, metrics.coverage(interval_s[0][rows], interval_s[1][rows], truth))


METRICS = ("spearman", "kendall", "within_5", "within_10", "coverage_95", "fit_choose_s")


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Means over seeds."""
    keys = dict.fromkeys((o.task, o.method, o.device, o.samples) for o in outcomes)
    found = []
    for key in keys:
        same = [o for o in outcomes if (o.task, o.method, o.device, o.samples) == key]
        means = {name: _mean(getattr(o, name) for o in same) for name in METRICS}
        named = zip(("task", "method", "device", "samples"), key, strict=True)
        found.append({**dict(named), "seeds": len(same), **means})
    return found


def summary(outcomes: Sequence[Outcome], pretrain_s: dict[str, float]) -> dict[str, Any]:
    """Spearman: mean over a task's devices and seeds; where it is none it counts as 0.

    fit_choose_s: mean of the slowest method, over all networks of a table. pretrain_s: of the
    slowest task.
    """
    spearman: dict[str, dict[str, dict[str, float]]] = {}
    for method, task, n in dict.fromkeys((o.method, o.task, o.samples) for o in outcomes):
        same = [o for o in outcomes if (o.method, o.task, o.samples) == (method, task, n)]
        found = float(np.mean([o.spearman or 0.0 for o in same]))
        spearman.setdefault(method, {}).setdefault(task, {})[str(n)] = found
    by_method = {m: [o for o in outcomes if o.method == m] for m in spearman}
    coverage = {m: _mean(o.coverage_95 for o in own) for m, own in by_method.items()}
    return {
        "mean_spearman": spearman,
        "coverage_95": {m: x for m, x in coverage.items() if x is not None},
        "fit_choose_s": max(_mean(o.fit_choose_s for o in own) or 0 for own in by_method.values()),
        "pretrain_s": max(pretrain_s.values()),
    }


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _tasks(parsed: argparse.Namespace) -> list[Task]:
    """The tasks that are named, or the one that `--space`, `--train` and `--test` make."""
    own = (parsed.train, parsed.test)
    if any(own) and not all(own):
        raise UsageError("`--train` and `--test` go together; name devices for both")
    if all(own):
        if parsed.space is None and not (parsed.data and parsed.data.suffix):
            raise UsageError("`--train` and `--test` need `--space NAME` or `--data FILE`")
        space = parsed.space or parsed.data.stem
        name = f"{space}:{','.join(parsed.test)}"
        pretrain = next((t.pretrain for t in TASKS.values() if t.space == space), 900)
        return [Task(name, space, tuple(parsed.train), tuple(parsed.test), pretrain)]
    names = list(TASKS) if parsed.task == ["all"] else parsed.task
    for name in names:
        if name not in TASKS:
            raise UnknownName("task", name, [*TASKS, "all"])
    return [TASKS[name] for name in names if parsed.space in (None, TASKS[name].space)]


def _options(parsed: argparse.Namespace) -> Options:
    for name in parsed.method:
        if name not in METHODS:
            raise UnknownName("method", name, METHODS)
    if parsed.encoding not in ENCODINGS:
        raise UnknownName("encoding", parsed.encoding, ENCODINGS)
    return Options(
        parsed.pretrain,
        tuple(sorted(parsed.samples)),
        parsed.select,
        tuple(parsed.method),
        parsed.encoding,
        parsed.seeds,
        parsed.seed,
        parsed.protocol,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.fewshot", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, help="folder of tables, or one .npz file (default: $FARM_DATA)")
    add("--task", type=_words, default=["all"], help=f"of {', '.join(TASKS)}, or all")
    add("--space", help="the table to use, NAME.npz in the folder")
    add("--train", type=_words, help="training devices of a task of your own, A,B")
    add("--test", type=_words, help="test devices of a task of your own, C,D")
    add("--pretrain", type=_pretrain, help="networks on each training device, or paper (default)")
    add("--samples", type=_counts, default=[5, 10, 20], help="samples of a target (5,10,20)")
    add("--select", choices=("random", "active"), default="active", help="how samples are chosen")
    add("--method", type=_words, default=["mixture"], help=f"of {', '.join(METHODS)}")
    add("--encoding", default="hwl", help=f"of {', '.join(ENCODINGS)}; for ridge")
    add("--seeds", type=_positive, default=10, help="draws of samples (10)")
    add("--seed", type=int, default=0, help="the first seed, also of the training networks (0)")
    add("--protocol", choices=("all", "help"), default="all", help="whose samples and tests")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_positive(word) for word in _words(text)]


def _pretrain(text: str) -> int | None:
    return None if text == "paper" else _positive(text)


if __name__ == "__main__":
    sys.exit(main())
