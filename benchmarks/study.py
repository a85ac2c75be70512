"""Which predictor of latency learns best from how many samples, and what choosing by it costs.

    python -m benchmarks.study --seed 0 --json
    python -m benchmarks.study --predictors linear,ours --devices raspi4 --samples 11,87

The study of Laube, Mutschler & Zell, What to Expect of Hardware Metric Predictors in NAS, AutoML
2022, on the NAS-Bench-201 devices of HW-NAS-Bench, and the farm's own predictors beside theirs.
Samples are drawn at random, alike for all predictors but ChamNet's, which picks its own; all are
judged by the same TEST other networks. Of OFTEN samples and fewer there are `--seeds` draws, of
more, and of dear predictors, the first alone. Times are CPU seconds; a query is of all 15,625
networks.

    live    no predictor: the front of the samples alone, as they were measured

`benchmarks.study_selection` says how choosing is judged. A long run can be cut short: with `--rows
FILE`, what is done stands there, and the same command does the rest.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import published
from benchmarks.fewshot_run import say
from benchmarks.loop import Space
from benchmarks.report import finish, keep, kept
from benchmarks.study_chamnet import chamnet
from benchmarks.study_contract import Predict, Samples, Setting, Studied
from benchmarks.study_regressions import LEARNT as REGRESSIONS
from benchmarks.study_selection import Selection
from farm.core.errors import FarmError, UnknownName, UsageError
from predictors import FloatArray, metrics

DEVICES = ("raspi4", "pixel3", "eyeriss", "fpga")
"""Of HW-NAS-Bench; the last two are estimates, and exact sums over operations."""

SAMPLES = (11, 31, 87, 243, 682, 1909, 5353, 15_000)
TEST = 625

OFTEN = 700
"""Samples up to which a predictor is trained in each seed."""

NEURAL = ("mlp_small", "mlp_large", "bananas", "dngo", "bayesian_network", "gcn", "bonas")
LIVE = "live"
LEARNT = {**REGRESSIONS, "chamnet": chamnet()}
PREDICTORS = (*LEARNT, *NEURAL, LIVE)

COUNTS = ("kendall", "spearman", "pearson")
CHOOSING = ("lost", "lost_verified", "hypervolume", "hypervolume_verified")
KEY = ("predictor", "dataset", "samples", "seed")

Row = dict[str, Any]


def run(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each predictor, device, number of samples and seed. Raises UnknownName and
    UsageError."""
    for name in options.predictors:
        if name not in PREDICTORS:
            raise UnknownName("predictor", name, PREDICTORS)
    for n in options.samples:
        if not 3 <= n <= max(SAMPLES):
            raise UsageError(f"--samples are from 3 to {max(SAMPLES)}, got {n}")
    done = {tuple(row[key] for key in KEY): row for row in kept(options.rows)}
    space = Space.of("nb201")
    with np.load(published.folder() / "nb201.npz") as data:
        accuracy = data["acc"][:, 0].astype(float)
    for device in options.devices:
        latency_s = space.table.column(device)
        setting, selection = Setting(space.without(device)), Selection.of(latency_s, accuracy)
        for n, seed, name in _asked(options):
            key = (name, device, n, seed)
            if key not in done:
                row = dict(zip(KEY, key, strict=True)) | _judged(name, setting, selection, n, seed)
                keep(options.rows, row)
                done[key] = row
            yield done[key]
        say(f"{device} is done")


def _asked(options: argparse.Namespace) -> Iterator[tuple[int, int, str]]:
    """Samples, seeds and predictors, the cheap ones first."""
    for n in options.samples:
        for seed in range(options.seeds if n <= OFTEN else 1):
            for name in options.predictors:
                how = _studied(name)
                if n <= how.most and seed < (how.seeds or options.seeds):
                    yield n, options.seed + seed, name


def _studied(name: str) -> Studied:
    if name in LEARNT:
        return LEARNT[name]
    if name == LIVE:
        return Studied(_nothing)
    from benchmarks import study_neural  # torch, for those alone

    return study_neural.NEURAL[name]


def _judged(name: str, setting: Setting, selection: Selection, n: int, seed: int) -> Row:
    order = np.random.default_rng(seed).permutation(len(selection.latency_s))
    test, how = order[-TEST:], _studied(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings at the end of their range, with few samples
        start = time.process_time()
        rows = order[:n]
        if how.choose:
            rows = how.choose(setting, selection.latency_s, order[:-TEST], n)
        samples = Samples(rows, selection.latency_s[rows], seed)
        predict: Predict = how.fit(setting, samples)
        fitted = time.process_time()
        believed_s = predict(np.arange(len(order)))
        ended = time.process_time()
    known = np.maximum(believed_s, selection.latency_s.min())
    known[rows] = samples.latency_s
    chosen = selection.judge(known)
    if name == LIVE:
        return chosen
    times = {"fit_cpu_s": fitted - start, "query_cpu_s": ended - fitted}
    return {**_ranked(believed_s[test], selection.latency_s[test]), **times, **chosen}


def _nothing(setting: Setting, samples: Samples) -> Predict:
    """No prediction: what was not measured is not chosen."""
    del setting, samples
    return lambda rows: np.full(len(rows), np.inf)


def _ranked(believed_s: FloatArray, latency_s: FloatArray) -> Row:
    """0 where all are predicted alike."""
    flat = np.ptp(believed_s) == 0
    return {
        "kendall": metrics.kendall(believed_s, latency_s) or 0.0,
        "spearman": metrics.spearman(believed_s, latency_s) or 0.0,
        "pearson": 0.0 if flat else float(np.corrcoef(believed_s, latency_s)[0, 1]),
    }


def summary(rows: Sequence[Row]) -> Row:
    """Medians over seeds, for each predictor, device and number of samples; of choosing and times
    also over devices."""
    ranked = [row for row in rows if "kendall" in row]
    found: Row = {count: _table(ranked, count) for count in COUNTS}
    found["choosing"] = {name: _by_samples(rows, name) for name in CHOOSING}
    found["cpu_s"] = {name: _by_samples(ranked, f"{name}_cpu_s") for name in ("fit", "query")}
    return found


def _table(rows: Sequence[Row], name: str) -> Row:
    """{predictor: {device: {samples: value}}}."""
    found: Row = {}
    for row in rows:
        of_device = found.setdefault(row["predictor"], {}).setdefault(row["dataset"], {})
        of_device.setdefault(row["samples"], []).append(row[name])
    return {p: {d: _medians(own) for d, own in each.items()} for p, each in found.items()}


def _by_samples(rows: Sequence[Row], name: str) -> Row:
    """{predictor: {samples: value}}, the mean over devices of medians over seeds."""
    found: Row = {}
    for predictor, devices in _table(rows, name).items():
        samples = sorted({n for own in devices.values() for n in own})
        each = {n: [own[n] for own in devices.values() if n in own] for n in samples}
        found[predictor] = {n: float(np.mean(values)) for n, values in each.items()}
    return found


def _medians(own: dict[int, list[float]]) -> dict[int, float]:
    return {n: float(np.median(values)) for n, values in own.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for a predictor or a device that is not known, 0 otherwise."""
    options = _parser().parse_args(arguments)
    try:
        found = list(run(options))
    except FarmError as error:
        say(f"study: {error}")
        return error.exit_code
    if options.plot:
        from benchmarks.study_plot import plot

        plot(summary(found)["kendall"], options.plot)
    finish("study", found, summary(found), options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.study", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--predictors", type=_list, default=PREDICTORS, help=f"of {', '.join(PREDICTORS)} (all)")
    add("--devices", type=_list, default=DEVICES, help="A,B: columns of nb201.npz")
    add("--samples", type=_numbers, default=SAMPLES, help="numbers of training networks, A,B")
    add("--seeds", type=int, default=3, help="draws of few samples (3)")
    add("--seed", type=int, default=0, help="the first seed (0)")
    add("--rows", type=Path, help="JSON lines: what is done, and what is added to it")
    add("--plot", type=Path, help="write learning curves as PNG")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _list(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in _list(text))


if __name__ == "__main__":
    sys.exit(main())
