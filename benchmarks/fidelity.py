"""Do latencies repeat, alone on a host and beside noisy neighbours?

    python -m benchmarks.fidelity --networks 30 --seed 0 [--reference 12] [--json]

Measures networks of both search spaces twice, in two campaigns with a runner each, as the farm
does, with control networks in each group; then as MetaSchedule's runner does
(`benchmarks/time_evaluator.py`), one network after the other, for as many device seconds as the
farm took. First on the host as it is, then beside one process that copies memory and computes in
random bursts, then beside eight. A longer run of `--reference` sessions, half of it between the
campaigns and half after, is what the intervals should cover. At last, `--stores` fresh stores of
the device measure the same networks: each has a baseline of its own.

shared: of the samples, how many shared their core with something else. not_told_apart: what the
two campaigns' samples come to as if nobody had looked at that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from agents import agent_class
from benchmarks import report
from benchmarks.neighbours import Burster, beside
from benchmarks.time_evaluator import evaluated
from farm.campaign.grouping import GROUP
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.kernel_cache import kernel_cache
from farm.core.errors import DeviceError
from farm.devices.controls import controls_of
from farm.measurement.agent import Agent
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Job, Measurement
from farm.measurement.sessions import measure
from farm.measurement.spec import MeasureSpec
from farm.spaces import space
from predictors.metrics import spearman

SPACES = {"nb201": 2, "fbnet": 1}
"""How many of three networks are of each space."""

NEIGHBOURS = {"idle": 0, "loaded": 1, "crowded": 8}
"""The conditions, each with how many busy processes are beside the device."""


@dataclass(frozen=True)
class Campaign:
    """What one campaign says of each network: (N,) seconds and what it cost.

    device_s: with each network's share of the control networks of its group.
    """

    latency_s: np.ndarray
    low_s: np.ndarray
    high_s: np.ndarray
    device_s: np.ndarray
    timed_fraction: float
    verdicts: tuple[str, ...]


@dataclass(frozen=True)
class Lab:
    """Everything compiled for this computer: the networks, and the control networks of their
    spaces."""

    networks: Sequence[Job]
    controls: Sequence[Job]


def lab(count: int, seed: int, root: Path) -> Lab:
    """`count` random networks, and the control networks."""
    artifacts = ArtifactStore(root)
    rng = np.random.default_rng(seed)
    with _device() as device:
        target = device.facts().target
    assert target is not None
    chosen = [
        network
        for name, share in SPACES.items()
        for network in space(name).sample(count * share // sum(SPACES.values()), rng)
    ]
    made = []
    for network in (*chosen, *controls_of(SPACES.keys())):
        model = space(network.space).model(network)
        made.append(Job(network, build(model, target, artifacts, kernel_cache(artifacts))))
        _say(f"{len(made)} networks compiled")
    controls = [replace(job, control=True) for job in made[len(chosen) :]]
    return Lab(made[: len(chosen)], controls)


def farms_campaign(
    networks: Lab, spec: MeasureSpec, baseline: dict[str, Baseline]
) -> list[tuple[Measurement, float]]:
    """As the farm measures: groups of networks in sessions, each with the control networks' share
    of the device's time, in seconds.

    baseline: of the device, which a store keeps from the first group on.
    """
    found: list[tuple[Measurement, float]] = []
    with _device() as device:
        for start in range(0, len(networks.networks), GROUP):
            group = networks.networks[start : start + GROUP]
            spaces = {job.network.space for job in group}
            controls = [job for job in networks.controls if job.network.space in spaces]
            _, outcomes = measure(device, [*group, *controls], spec, baseline)
            good = [_good(outcome) for outcome in outcomes]
            seen = zip(good, (job.control for job in [*group, *controls]), strict=True)
            baseline.update(baselines_after(baseline, seen))
            share_s = sum(m.device_s for m in good[len(group) :]) / len(group)
            found += [(m, share_s) for m in good[: len(group)]]
            _say(f"{len(found)} networks measured")
    return found


def baselines_after(
    known: Mapping[str, Baseline], measured: Iterable[tuple[Measurement, bool]]
) -> dict[str, Baseline]:
    """The baselines, by fingerprint, once these are measured, too.

    measured: each with whether it is a control network.
    """
    after = dict(known)
    for measurement, is_control in measured:
        if is_control:
            baseline = after.get(measurement.fingerprint, Baseline())
            after[measurement.fingerprint] = baseline.after(measurement)
    return after


def summarised(found: Sequence[tuple[Measurement, float]]) -> Campaign:
    measurements, shares_s = zip(*found, strict=True)
    return Campaign(
        latency_s=np.array([m.latency_s for m in measurements]),
        low_s=np.array([m.interval_s[0] for m in measurements]),
        high_s=np.array([m.interval_s[1] for m in measurements]),
        device_s=np.array([m.device_s for m in measurements]) + np.array(shares_s),
        timed_fraction=sum(m.timed_s for m in measurements) / sum(m.device_s for m in measurements),
        verdicts=tuple(m.verdict for m in measurements),
    )


def reference_s(halves: Sequence[Sequence[tuple[Measurement, float]]]) -> np.ndarray:
    """(N,) seconds: the statistic of record over the sessions of all halves."""
    networks = zip(*halves, strict=True)
    return np.array([joined([m for m, _ in parts]).latency_s for parts in networks])


def joined(parts: Sequence[Measurement]) -> Measurement:
    """A measurement of all their sessions, with the control networks that every part has."""
    starts = np.cumsum([0, *(len(part.warmup_s) for part in parts)])
    blocks = [
        replace(block, session=block.session + int(start))
        for part, start in zip(parts, starts, strict=False)
        for block in part.blocks
    ]
    timed = [{one.series: one for one in part.controls} for part in parts]
    controls = [
        replace(last, blocks_s=tuple(row for one in timed for row in one[series].blocks_s))
        for series, last in timed[-1].items()
        if all(series in one for one in timed)
    ]
    return replace(
        parts[0],
        blocks=tuple(blocks),
        warmup_s=tuple(row for part in parts for row in part.warmup_s),
        controls=tuple(controls),
    )


def told(
    found: Sequence[tuple[Measurement, float]], baseline: Mapping[str, Baseline]
) -> list[tuple[Measurement, float]]:
    """As a store tells them at the end: at the baseline as it is known then."""
    return [(m.at(baseline[m.fingerprint].levels_s), share_s) for m, share_s in found]


def shared(found: Sequence[tuple[Measurement, float]]) -> float:
    """Share of the samples that shared their core."""
    return float(np.mean([s for m, _ in found for block in m.blocks for s in block.shared]))


def not_told_apart_s(found: Sequence[tuple[Measurement, float]]) -> np.ndarray:
    """(N,) latencies in seconds, by all samples of the networks."""
    blocks = (tuple(replace(block, shared=()) for block in m.blocks) for m, _ in found)
    return np.array(
        [replace(m, blocks=own).latency_s for (m, _), own in zip(found, blocks, strict=True)]
    )


def common_factors(networks: Lab, stores: int) -> list[float]:
    """(stores - 1,) how far two fresh stores of the device are apart in what all their latencies
    have in common, one measured after the other."""
    logs = []
    for _ in range(stores):
        baseline: dict[str, Baseline] = {}
        found = told(farms_campaign(networks, MeasureSpec(), baseline), baseline)
        logs.append(np.log([m.latency_s for m, _ in found]))
    return [abs(float(np.expm1(np.median(b - a)))) for a, b in pairwise(logs)]


def differences(first_s: np.ndarray, second_s: np.ndarray) -> dict[str, float]:
    """How far two campaigns are apart."""
    apart = np.abs(first_s - second_s) / ((first_s + second_s) / 2)
    return {
        "median_rel_diff": float(np.median(apart)),
        "p95_rel_diff": float(np.percentile(apart, 95)),
        "spearman": float(spearman(first_s, second_s) or np.nan),
    }


def condition(
    networks: Lab, sessions: int, baseline: dict[str, Baseline]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Everything on the host as it is now: what it came to, and a row for each network."""
    spec = MeasureSpec()
    half = replace(spec, min_sessions=max(1, sessions // 2), max_sessions=max(1, sessions // 2))
    runs = [farms_campaign(networks, one, baseline) for one in (spec, half, spec, half)]
    first_found, half_found, second_found, other_half = (told(run, baseline) for run in runs)
    first, second = summarised(first_found), summarised(second_found)
    truth_s = reference_s([half_found, other_half])
    theirs = [evaluated(networks.networks, first.device_s.tolist()) for _ in range(2)]
    means = [np.array([np.mean(results) for results in one]) for one in theirs]
    medians = [np.array([np.median(results) for results in one]) for one in theirs]
    covered = [(c.low_s <= truth_s) & (truth_s <= c.high_s) for c in (first, second)]
    ours, mean = differences(first.latency_s, second.latency_s), differences(*means)
    found = {
        **ours,
        "shared": shared([*first_found, *second_found]),
        "not_told_apart": differences(*map(not_told_apart_s, (first_found, second_found))),
        "time_evaluator_mean": mean,
        "time_evaluator_median": differences(*medians),
        "coverage_95": float(np.mean(covered)),
        "timed_fraction": first.timed_fraction,
        "device_s_per_network": float(first.device_s.mean()),
        "variation_ratio_metaschedule": mean["median_rel_diff"] / ours["median_rel_diff"],
        "verdicts": dict(Counter(first.verdicts + second.verdicts)),
    }
    rows = [
        {
            "network": job.network.id,
            "first_s": first.latency_s[i],
            "second_s": second.latency_s[i],
            "half_width": (first.high_s[i] - first.low_s[i]) / 2 / first.latency_s[i],
            "verdict": first.verdicts[i],
            "reference_s": truth_s[i],
            "mean_first_s": means[0][i],
            "mean_second_s": means[1][i],
            "device_s": first.device_s[i],
        }
        for i, job in enumerate(networks.networks)
    ]
    return found, rows


def _bursts(seed: int) -> None:
    burster = Burster(seed)
    while burster.wanted:
        burster.burst()
        time.sleep(burster.rng.uniform(0.0, 0.5))


def _device() -> Agent:
    kind = agent_class("cpu")
    return kind("cpu1", kind.options())


def _good(outcome: Measurement | DeviceError) -> Measurement:
    if isinstance(outcome, DeviceError):
        raise outcome
    return outcome


def _say(text: str) -> None:
    print(f"\r{text}  ", end="", file=sys.stderr, flush=True)


def summary(found: Mapping[str, Mapping[str, Any]], factors: Sequence[float]) -> dict[str, Any]:
    """common_factor_median: of `common_factors`. variation_ratio_metaschedule: how many times as
    far apart its two campaigns are as ours, by the median over networks of the mean that it
    reports, in the condition where that is least."""
    return {
        **found,
        "variation_ratio_metaschedule": min(
            c["variation_ratio_metaschedule"] for c in found.values()
        ),
        "coverage_95": float(np.mean([c["coverage_95"] for c in found.values()])),
        "common_factor_median": float(np.median(factors)) if factors else None,
        "timed_fraction": min(c["timed_fraction"] for c in found.values()),
    }


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.fidelity", description=__doc__)
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--reference", type=int, default=12, help="sessions of the long run")
    parser.add_argument("--stores", type=int, default=6, help="fresh stores that are compared")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    found, rows, baseline = {}, [], dict[str, Baseline]()
    with TemporaryDirectory() as root:
        networks = lab(given.networks, given.seed, Path(root))
        for name, count in NEIGHBOURS.items():
            with beside(_bursts, count, given.seed):
                found[name], own = condition(networks, given.reference, baseline)
            rows += [{"condition": name, **row} for row in own]
            _say(f"{name}: {json.dumps(found[name])}\n")
        some = replace(networks, networks=networks.networks[: 2 * GROUP])
        factors = common_factors(some, given.stores) if given.stores > 1 else []
    report.finish("fidelity", rows, summary(found, factors), given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
