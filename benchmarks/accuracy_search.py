"""How many networks a search trains until it has found a good one, by what predicts accuracies.

    python -m benchmarks.accuracy_search scratch --json     # Multi-Predict's figure 10
    python -m benchmarks.accuracy_search tasks --json       # MP-NAS's figure 4
    python -m benchmarks.accuracy_search scratch --data FILE.npz --method zcp,mixture

`scratch` (Multi-Predict, section 5): ten random networks are trained, a predictor learns from them,
the ten that it ranks first are trained next, and so on; each draw has its own first ten. `tasks`
(Loya et al. 2023, section 3.2 and appendix C): the predictor has learnt from the table's other
tasks on half of its networks, chooses the first one of the other half without any, and is adapted
anew to all that were trained after each one; each draw has its own half. `random` there starts
from nothing, `start` is MAML's without any adaptation. `chance` trains at random.

    better  share of the networks searched that are better than the best found, the mean over draws
    top     networks trained until one of the best 1 % is found, the median over draws
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import accuracy_methods, meta_methods, metalearn
from benchmarks.accuracy_file import AccuracyFile, find
from benchmarks.accuracy_methods import Learner
from benchmarks.arguments import natural, paths, positive, words
from benchmarks.meta_methods import ZeroShot
from benchmarks.report import finish, keeping, say
from farm.core.errors import FarmError, UnknownName, UsageError
from predictors import FloatArray, IntArray
from predictors.models.cell_gcn import Size
from predictors.models.meta import Settings

TOP = 0.01

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Hunt:
    """What is searched. accuracy: (N,). pool: rows that may be trained. learner: None to train at
    random. adapts: whether it learns from what was trained."""

    accuracy: FloatArray
    pool: IntArray
    learner: Learner | None
    adapts: bool = True

    def order(self, batch: int, most: int, seed: int) -> IntArray:
        """(most,) of the pool, in the order in which they are trained, `batch` at once."""
        drawn: IntArray = np.random.default_rng(seed).permutation(self.pool)
        if self.learner is None:
            return drawn[:most]
        taken = drawn[:0]
        while len(taken) < most:
            left = drawn[~np.isin(drawn, taken)]
            best = np.argsort(-self._scores(taken, left), kind="stable")
            taken = np.concatenate([taken, left[best[:batch]]])
        return taken[:most]

    def _scores(self, taken: IntArray, left: IntArray) -> FloatArray:
        """All alike where nothing is known yet, so that the order drawn decides."""
        assert self.learner is not None
        x, rule = self.learner.x, self.learner.rule
        if isinstance(rule, ZeroShot) and not (self.adapts and len(taken)):
            return rule.known(x[left])
        if not len(taken):
            return np.zeros(len(left))
        return rule(x[taken], self.accuracy[taken])(x[left])


@dataclass(frozen=True)
class Options:
    """methods: names of a kind's. most: networks that are trained, `batch` at once."""

    methods: tuple[str, ...]
    batch: int
    most: int
    draws: range


def scratch(file: AccuracyFile, task: str, method: str, seed: int) -> Hunt:
    """A predictor of `benchmarks.accuracy` that knows nothing beforehand."""
    case = accuracy_methods.Case.of(file, task, [], seed)
    if method == "chance":
        return Hunt(case.accuracy, case.known, None)
    made = list(accuracy_methods.METHODS[method](case))
    if not made:
        raise UsageError(f"{file.name}/{task}: {method} is not possible, {case.lacks(method)}")
    return Hunt(case.accuracy, case.known, made[0])


def tasks(file: AccuracyFile, task: str, method: str, seed: int) -> Hunt:
    """One of `benchmarks.metalearn` that has learnt from the table's other tasks."""
    size = Size(metalearn.WIDTH, 4, 0.0, even=True)
    settings = Settings(
        size=size, iterations=metalearn.ITERATIONS, outer_rate=metalearn.RATE, seed=seed
    )
    case = meta_methods.Case.of(file, task, [], settings)
    if not case.others:
        raise UsageError(f"{file.name} has no other task than {task!r} to learn from")
    if method == "chance":
        return Hunt(case.accuracy, case.fresh, None)
    (learner,) = meta_methods.METHODS["maml" if method == "start" else method](case)
    return Hunt(case.accuracy, case.fresh, learner, adapts=method != "start")


Prepare = Callable[[AccuracyFile, str, str, int], Hunt]


@dataclass(frozen=True)
class Kind:
    """One of the two figures, with what it is asked where nothing is said."""

    prepare: Prepare
    known: tuple[str, ...]
    methods: tuple[str, ...]
    data: tuple[str, ...]
    batch: int
    most: int
    draws: int
    shown: tuple[int, ...]


KINDS: Mapping[str, Kind] = {
    "scratch": Kind(
        scratch,
        ("chance", "vec", "zcp", "zcpvec", "brp_nas", "mixture"),
        ("chance", "vec", "zcp", "zcpvec", "mixture"),
        ("accuracy_nb101.npz", "accuracy_nb201.npz"),
        *(10, 100, 10),
        (10, 20, 30, 40, 60, 80, 100),
    ),
    "tasks": Kind(
        tasks,
        ("chance", "start", *(name for name in meta_methods.METHODS if name != "naive")),
        ("chance", "random", "start", "maml", "mixture_vec", "mixture"),
        ("accuracy_tb101_micro.npz", "accuracy_nb201.npz"),
        *(1, 20, 3),
        (1, 3, 5, 10, 15, 20),
    ),
}


def run(kind: Kind, files: Sequence[AccuracyFile], options: Options) -> Iterator[Row]:
    """A row for each task and method. Raises UsageError where there is too little to search."""
    for file in files:
        for task in file.tasks:
            for method in options.methods:
                prepare = partial(kind.prepare, file, task, method)
                yield {
                    "table": file.name,
                    "task": task,
                    "method": method,
                    **_found(prepare, kind, options),
                }
                say(f"{file.name}/{task}: {method}")


def _found(prepare: Callable[[int], Hunt], kind: Kind, options: Options) -> Row:
    better, top = [], []
    for seed in options.draws:
        hunt = prepare(seed)
        if len(hunt.pool) < options.most:
            raise UsageError(
                f"`--networks` must be at most the {len(hunt.pool)} that are searched, got "
                f"{options.most}"
            )
        order = hunt.order(options.batch, options.most, seed)
        best = np.maximum.accumulate(hunt.accuracy[order])
        share = (hunt.accuracy[hunt.pool] > best[:, None]).mean(1)
        better.append(share)
        top.append(int(np.argmax(share < TOP)) + 1 if share[-1] < TOP else options.most + 1)
    means = np.mean(better, axis=0)
    shown = [n for n in kind.shown if n < options.most] + [options.most]
    median = float(np.median(top))
    return {
        "better": {str(n): float(means[n - 1]) for n in shown},
        "top": median if median <= options.most else None,
        "draws": len(better),
    }


def summary(rows: Sequence[Row]) -> Row:
    """{table: {method: {"better": {networks: the mean over tasks}, "top": that of each task}}}."""
    found: Row = {}
    for row in rows:
        own = [r for r in rows if (r["table"], r["method"]) == (row["table"], row["method"])]
        means = {n: float(np.mean([r["better"][n] for r in own])) for n in row["better"]}
        line = {"better": means, "top": {r["task"]: r["top"] for r in own}}
        found.setdefault(row["table"], {})[row["method"]] = line
    return found


def plot(rows: Sequence[Row], path: Path) -> None:
    """A panel for each table: what is still better, over the networks that were trained."""
    found = summary(rows)
    figure = Figure(figsize=(5 * len(found), 3.6), layout="constrained")
    for axes, (table, methods) in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
    ):
        for method, line in methods.items():
            counts = [int(n) for n in line["better"]]
            axes.plot(counts, [100 * v for v in line["better"].values()], marker="o", label=method)
        axes.set(title=table, xlabel="networks trained", ylabel="networks that are better, %")
        axes.set_yscale("symlog", linthresh=0.3)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know and files that do not fit, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    kind = KINDS[parsed.kind]
    try:
        options = _options(parsed, kind)
        files = [find(path) for path in parsed.data or map(Path, kind.data)]
        rows = list(keeping(run(kind, files, options), parsed.rows))
    except FarmError as error:
        say(f"accuracy_search: {error}")
        return error.exit_code
    if parsed.plot:
        plot(rows, parsed.plot)
    finish(f"accuracy_search {parsed.kind}", rows, summary(rows), parsed.json)
    return 0


def _options(parsed: argparse.Namespace, kind: Kind) -> Options:
    methods = tuple(parsed.method or kind.methods)
    for name in methods:
        if name not in kind.known:
            raise UnknownName("method", name, kind.known)
    draws = range(parsed.seed, parsed.seed + (parsed.draws or kind.draws))
    made = Options(methods, parsed.batch or kind.batch, parsed.networks or kind.most, draws)
    return replace(made, batch=min(made.batch, made.most))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy_search", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("kind", choices=tuple(KINDS), help="what a predictor starts from")
    add("--data", type=paths, help="tables that are searched")
    add("--method", type=words, help="predictors")
    add("--networks", type=positive, help="that are trained (scratch 100, tasks 20)")
    add("--batch", type=positive, help="trained before the next prediction (scratch 10, tasks 1)")
    add("--draws", type=positive, help="of the networks (scratch 10, tasks 3)")
    add("--seed", type=natural, default=0, help="the first draw (0)")
    add("--rows", type=Path, help="a file to which each row is added when it is found")
    add("--plot", type=Path, help="a PNG")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
