"""Evaluation of few-shot methods on a task: who may see what, and how a prediction is scored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import published
from benchmarks.contract import TRAININGS, Case, FewShot, Method, Prediction
from benchmarks.published import Table
from benchmarks.tasks import Task
from farm.core.errors import UsageError
from predictors import FloatArray, IntArray, Observations, metrics
from predictors.acquisition import Pool, random, variance
from predictors.encodings.hwl import References
from predictors.encodings.normalisation import TrainingRows
from predictors.models.mixture_gp import MixtureGP

HELP_TESTS = 1000
HELP_TRIM = 0.1
"""HELP's loader: tests after the training networks, and the share cut off at either end."""

UNITS_APART = 100.0
"""A device whose typical latency is so many times that of every reference is in another unit: in
published tables it is 10 times at most, and seconds are 1,000 milliseconds."""

SEEDS = 10

BLIND = 5
"""Samples that are chosen before any is measured; from then on each is chosen by those before. With
2 of them some tasks gained .01 at five samples, but random splits of devices lost as much."""


@dataclass(frozen=True)
class Entry:
    """A method as it was asked for. name: METHOD, or METHOD:ENCODING."""

    name: str
    method: Method
    encoding: str


@dataclass(frozen=True)
class Options:
    """What is asked for; see `--help`. pretrain: None for each task's own number. seeds: None for
    SEEDS, or what a method says. training: one of TRAININGS. optional: methods that cannot work on
    a table are left out."""

    samples: tuple[int, ...]
    entries: tuple[Entry, ...]
    pretrain: int | None = None
    seeds: int | None = None
    seed: int = 0
    protocol: str = "all"
    analytic: bool = True
    training: str = TRAININGS[0]
    optional: bool = False

    def seeds_of(self, method: Method) -> range:
        """The draws of samples that a method is judged on."""
        count = min(SEEDS, method.seeds or SEEDS) if self.seeds is None else self.seeds
        return range(self.seed, self.seed + count)


@dataclass(frozen=True)
class Outcome:
    """One method on one device from some samples; metrics as in `predictors.metrics`.

    training: of a neural method, one of TRAININGS; of others empty. constant: the device's
    latencies are all the same, so that nothing can rank them.
    """

    task: str
    group: str
    method: str
    select: str
    device: str
    samples: int
    seed: int
    spearman: float | None
    kendall: float | None
    within_5: float | None
    within_10: float | None
    coverage_95: float | None
    fit_choose_s: float
    pretrain_s: float
    constant: bool
    training: str


@dataclass(frozen=True, eq=False)
class Prepared:
    """A task with its references learnt. tests: networks to judge by, before a protocol's cuts.

    choices, methods: what was chosen, by (selection, device, seed), and pretrained so far, each
        with the seconds that one choice or the pretraining took.
    """

    case: Case
    task: Task
    options: Options
    tests: IntArray
    pretrain_s: float
    choices: dict[tuple[str, str, int], tuple[IntArray, float]]
    methods: dict[str, tuple[FewShot, float]]

    def method(self, entry: Entry) -> tuple[FewShot, float]:
        """Pretrained, at most once. Raises UsageError where the table lacks what it needs."""
        if entry.name not in self.methods:
            start = time.perf_counter()
            few_shot = entry.method.prepare(self.case, entry.encoding)
            self.methods[entry.name] = few_shot, time.perf_counter() - start
        return self.methods[entry.name]

    @classmethod
    def of(cls, table: Table, task: Task, options: Options) -> Prepared:
        """Raises UsageError for devices that the table lacks or that cannot be used."""
        references, tests = _references(table, task, options)
        if not np.ptp(table.structure[references.rows.indices], axis=0).any():
            raise UsageError(
                f"the {len(references.rows.indices)} training networks of {table.name!r} are all "
                "the same: `ops`, `arch_str` or `features` must tell them apart"
            )
        for device in task.test:
            _check_target(table, device, options)
        for device in (*task.train, *task.test):
            _check_unit(table, task, device)
        start = time.perf_counter()
        case = Case.of(table, references, options.seed, options.training)
        return cls(case, task, options, tests, time.perf_counter() - start, {}, {})


def _references(table: Table, task: Task, options: Options) -> tuple[References, IntArray]:
    """The references with their training networks, and the networks to test on."""
    count = len(table.latency_s)
    order = np.random.default_rng(options.seed).permutation(count)
    pretrain = min(options.pretrain or task.pretrain, count)
    rows, rest = order[:pretrain], order[pretrain : pretrain + HELP_TESTS]
    tests = np.arange(count) if options.protocol == "all" else rest
    if len(tests) < metrics.FEWEST:
        raise UsageError(
            f"`--protocol help` tests on networks after the {pretrain} training ones, but "
            f"{table.name!r} has {count}; take a smaller `--pretrain`"
        )
    latency_s = table.latency_s[:, published.split(table, task.train)]
    published.split(table, task.test)
    held_out = tests if options.protocol == "help" else ()
    try:
        references = References(latency_s, task.train, TrainingRows.of(rows, held_out))
        for device in task.test:
            references.without(device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return references, tests


def _check_target(table: Table, device: str, options: Options) -> None:
    measured = int(np.isfinite(table.column(device)).sum())
    needed = max(options.samples) + metrics.FEWEST
    if measured < needed:
        raise UsageError(
            f"{device!r} has {measured} measured networks; {max(options.samples)} samples and "
            f"{metrics.FEWEST} to judge by need {needed}: ask for fewer `--samples`"
        )


def _check_unit(table: Table, task: Task, device: str) -> None:
    typical = float(np.nanmedian(table.column(device)))
    others = [float(np.nanmedian(table.column(d))) for d in task.train if d != device]
    if not others:
        return
    ratio = min((typical / other for other in others), key=lambda r: abs(np.log(r)))
    if not 1 / UNITS_APART < ratio < UNITS_APART:
        raise UsageError(
            f"{device!r} takes {ratio:.3g} times as long as the training device nearest to it; "
            "`latency_ms` is in milliseconds for every device: bring its column to that unit"
        )


def evaluate(prepared: Prepared, entry: Entry, select: str) -> Iterator[Outcome]:
    """One method on every test device, from nested samples.

    Raises UsageError for a method that cannot work on this table.
    """
    few_shot, prepare_s = prepared.method(entry)
    task, options, pretrain_s = prepared.task, prepared.options, prepared.pretrain_s + prepare_s
    training = options.training if entry.method.neural else ""
    for device in task.test:
        measured_s = prepared.case.table.column(device)
        barred, judged = _protocol(prepared, measured_s)
        constant = bool(np.ptp(measured_s[judged]) == 0)
        for seed in options.seeds_of(entry.method):
            chosen, choose_s = _choose(prepared, select, device, seed, barred)
            if entry.method.describes:
                chosen = _described(prepared.case, chosen, measured_s)
            for n in options.samples:
                start = time.perf_counter()
                predicted = few_shot(chosen[:n], measured_s[chosen[:n]], seed)
                spent_s = choose_s + time.perf_counter() - start
                scores = _scores(predicted, measured_s, np.setdiff1d(judged, chosen[:n]))
                keys = (task.name, task.group, entry.name, select, device, n, seed)
                yield Outcome(*keys, *scores, spent_s, pretrain_s, constant, training)


def _protocol(prepared: Prepared, measured_s: FloatArray) -> tuple[IntArray, IntArray]:
    """(networks that may not be samples, networks to judge by)."""
    measured = np.flatnonzero(np.isfinite(measured_s))
    allowed = measured
    if prepared.options.protocol == "help":
        low, high = np.nanquantile(measured_s, [HELP_TRIM, 1 - HELP_TRIM])
        measured = np.flatnonzero((measured_s >= low) & (measured_s <= high))
        allowed = np.intersect1d(prepared.case.references.rows.indices, measured)
    barred = np.setdiff1d(np.arange(len(measured_s)), allowed)
    judged = np.intersect1d(prepared.tests, measured)
    if len(judged) < metrics.FEWEST:
        raise UsageError(
            f"{len(judged)} of the networks that `--protocol help` tests on were measured on a "
            f"target, {metrics.FEWEST} are needed; take `--protocol all`"
        )
    return barred, judged


def _choose(
    prepared: Prepared, select: str, device: str, seed: int, barred: IntArray
) -> tuple[IntArray, float]:
    """(samples, seconds for each): the same for every method, by our model, or by chance."""
    key = (select, device, seed)
    if key not in prepared.choices:
        start = time.perf_counter()
        model, n = prepared.case.mixture, max(prepared.options.samples)
        pool, measured_s = Pool(model.features, seed, barred), prepared.case.table.column(device)
        try:
            chosen = (
                _active(model, pool, measured_s, n) if select == "active" else random(pool, (), n)
            )
        except ValueError as error:
            raise UsageError(f"{error}; ask for fewer `--samples`") from error
        prepared.choices[key] = (chosen, (time.perf_counter() - start) / n)
    return prepared.choices[key]


def _described(case: Case, chosen: IntArray, measured_s: FloatArray) -> IntArray:
    """As many samples, first the describing networks that can be measured; also where a protocol
    bars them: they are no draw."""
    first = case.describing[np.isfinite(measured_s[case.describing])]
    others = chosen[~np.isin(chosen, first)]
    return np.concatenate([first, others])[: len(chosen)]


def _active(model: MixtureGP, pool: Pool, measured_s: FloatArray, n: int) -> IntArray:
    """(n,) rows: each where our model is least sure, given what came of those before."""
    pool.free(np.empty(0, np.intp), n)  # all of them, before the first is chosen
    rows = variance(pool, (), min(BLIND, n), prior=model)
    while len(rows) < n:
        seen = Observations.of_one("target", model.features[rows], measured_s[rows])
        belief = model.fit(seen).belief("target")
        rows = np.append(rows, variance(replace(pool, measured=rows), (), 1, prior=belief))
    return rows


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
    """One for each task, method, device and number of samples: means over seeds."""
    found = []
    keys = ("task", "method", "training", "select", "device", "samples")
    for key, same in grouped(outcomes, *keys).items():
        means = {name: _mean(getattr(o, name) for o in same) for name in METRICS}
        named = zip(keys, key, strict=True)
        found.append({**dict(named), "seeds": len(same), **means})
    return found


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """mean_spearman: over a task's devices and seeds, or over all splits of a table.

    fit_choose_s, pretrain_s: of our method where it took part, else of the slowest: the mean for
    one target over all networks of a table, and of the slowest task.
    """
    spearman: dict[str, dict[str, dict[str, float | None]]] = {}
    for (method, group, n), same in grouped(outcomes, "method", "group", "samples").items():
        spearman.setdefault(method, {}).setdefault(group, {})[str(n)] = mean_spearman(same)
    by_method = {method: own for (method,), own in grouped(outcomes, "method").items()}
    coverage = {m: _mean(o.coverage_95 for o in own) for m, own in by_method.items()}
    seconds = {
        m: (_mean(o.fit_choose_s for o in own) or 0.0, max(o.pretrain_s for o in own))
        for m, own in by_method.items()
    }
    ours = seconds.get("mixture") or max(seconds.values(), default=(None, None))
    return {
        "mean_spearman": spearman,
        "coverage_95": {m: x for m, x in coverage.items() if x is not None},
        "fit_choose_s": ours[0],
        "pretrain_s": ours[1],
    }


def mean_spearman(outcomes: Sequence[Outcome]) -> float | None:
    """A method that cannot rank counts as 0, a device that nothing can rank does not count."""
    return _mean(o.spearman or 0.0 for o in outcomes if not o.constant)


def grouped(outcomes: Sequence[Outcome], *fields: str) -> Mapping[tuple[Any, ...], list[Outcome]]:
    """Outcomes by the values of some fields, in the order in which they come first."""
    found: dict[tuple[Any, ...], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(tuple(getattr(outcome, f) for f in fields), []).append(outcome)
    return found


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
