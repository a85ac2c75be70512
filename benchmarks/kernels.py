"""How well are networks predicted from kernels' times, and for how many seconds of a device?

    python -m benchmarks.kernels --seed 0 [--case cpu1:nb201 ...] [--holdout 50] [--json]

For each device and search space a campaign times kernels, then measures a few networks; a second
one measures networks alone. Both are judged by the same holdout, each by its own measurement of it,
the second one after as many device seconds as the first took to learn. Device seconds are with the
control networks' share, without the holdout's, which teaches nothing. At last the same from a third
of the kernels, those that tell most (`chosen`), and from networks after as many device seconds as
that would have taken. `deepest` says how far two measurements of
the holdout are apart: no prediction can be judged better.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import report
from farm.campaign.planning import Launch
from farm.campaign.summary import sums_of
from farm.compile import alone
from farm.core.values import KERNEL, Network
from farm.farm import Farm
from farm.measurement.record import Measurement
from farm.prediction.evaluation import Judgement, Sums, judge
from farm.prediction.kernel_times import KernelSum, calls, chosen, kernel_sums, sums, times
from farm.spaces import space
from farm.store import Store, StoredCampaign
from predictors import Observations
from predictors.metrics import spearman
from predictors.models.kernel_sum import KernelSumGP

CASES = ("cpu1:nb201", "cpu1:fbnet", "cpu2:nb201")

CLUSTER = """\
store: store
controls: {every: 1}
devices:
  cpu1: {kind: cpu, threads: 1}
  cpu2: {kind: cpu, threads: 2}
  clock-a72: {kind: insn-clock, profile: cortex-a72, measure: {timeout_s: 600}}
  emu-pi:
    kind: qemu-pi
    measure: {timeout_s: 600, min_sessions: 1, max_sessions: 1, rounds: 2, min_samples: 2,
              block_s: 0.001, warmup_s: 0.02}
    controls: {every: 0}
"""

NETWORKS = {"cpu1": (6, 40), "cpu2": (10, 40), "clock-a72": (3, 0), "emu-pi": (4, 0)}
"""To learn from beside kernels, and alone, by device; 0 where that would take hours."""

_WHOLE = 20_000
"""Networks of a space that is planned and predicted as a whole."""

_COUNTERS = ("instructions", "accesses", "l1_misses", "l2_misses")
"""Of the telemetry of an instruction clock."""

PUBLISHED = {
    "nn-Meter (MobiSys 2021), mobile CPUs": {"within_10": 0.99, "cost": "thousands of kernels"},
    "LitePred (NSDI 2024)": {"within_10": 0.993, "cost": "an hour on each device"},
    "HiFi-LLP (2025), LatBench": {"spearman": 0.996, "cost": "full training sets"},
}


def case(
    device: str, searched: str, holdout: int, seed: int, folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What it came to, and a row for each network of the holdout."""
    (folder / "cluster.yaml").write_text(CLUSTER)
    farm = Farm.open(folder / "cluster.yaml")
    few, many = NETWORKS[device]
    asked = Launch(space=searched, devices=[device], budget=few, holdout=holdout, seed=seed)
    without = [replace(asked, budget=many, kernels=False, fresh=True)] if many else []
    with Store(farm.config.store) as store:
        measured = len(store.campaigns())
    for launch in (asked, *without)[measured:]:
        farm.launch(launch, "inline", lambda p: _say(p.campaign, p.elapsed_s))
    with farm.store() as store:
        found, rows = judged(store, device, searched)
        if space(searched).size <= _WHOLE:
            found["whole_space"] = whole_space(store, device, searched)
        return found, rows


def judged(store: Store, device: str, searched: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, *others = store.campaigns()
    sums_s = sums_of(store, first.plan)
    assert sums_s is not None
    learnt, heldout = _measured(store, first)
    overhead = _with_controls(store, device)
    kernels_s = overhead * store.kernel_counts(first.id)[device].device_s
    spent_s = kernels_s + overhead * sum(m.device_s for m in learnt)
    third, share = _third(store, device, searched)
    third_s = spent_s - (1 - share) * kernels_s
    found = {
        "kernels_only": _figures(_judge(first, [], heldout, sums_s), kernels_s, 0),
        "third_of_kernels": _figures(_judge(first, learnt, heldout, third), third_s, len(learnt)),
        "kernels": store.kernel_counts(first.id)[device].measured,
    }
    for second in others:
        learning, again = _measured(store, second)
        until_s = overhead * np.cumsum([m.device_s for m in learning])
        for name, most_s in (("networks_only", spent_s), ("networks_only_for_a_third", third_s)):
            same = [m for m, s in zip(learning, until_s, strict=True) if s <= most_s]
            found[name] = _figures(_judge(first, same, again, None), most_s, len(same))
        found["deepest"] = _apart(heldout, again)
    counted = _counted(store, device, heldout)
    found |= {"counted": counted} if counted else {}
    judgement = _judge(first, learnt, heldout, sums_s)
    found = {**_figures(judgement, spent_s, len(learnt)), **found}
    rows = [
        {
            "device": device,
            "network": p.network.id,
            "measured_s": p.measured_s,
            "predicted_s": p.predicted_s,
            "low_s": p.low_s,
            "high_s": p.high_s,
        }
        for p in judgement.predictions
    ]
    return found, rows


def whole_space(store: Store, device: str, searched: str) -> dict[str, float]:
    """How long it takes to plan a whole space, once, and then to predict all of it."""
    known = space(searched)
    networks = known.sample(known.size, np.random.default_rng(0))
    began_s = time.monotonic()
    called = calls(store, searched, networks, 1)
    planned_s = time.monotonic()
    found = kernel_sums(store, device, networks, 1)
    assert found is not None
    model = KernelSumGP.over(found.latency_s, found.uncertainty, known.features(networks))
    seen = [m for m in store.measurements(device=device) if m.network.space == searched]
    row = {network: i for i, network in enumerate(networks)}
    features = model.features[[row[m.network] for m in seen[:10]]]
    latency_s = np.array([m.latency_s for m in seen[:10]])
    fitted = model.fit(Observations.of_one(device, features, latency_s))
    fitted.posterior(model.features, device)
    return {
        "networks": float(len(networks)),
        "kernels": float(len(called.definitions)),
        "plan_s": planned_s - began_s,
        "predict_s": time.monotonic() - planned_s,
    }


def _measured(store: Store, c: StoredCampaign) -> tuple[list[Measurement], list[Measurement]]:
    learnt, heldout = (store.measurements(c.id, purpose) for purpose in ("learn", "holdout"))
    return learnt, sorted(heldout, key=lambda m: m.network)


def _judge(
    c: StoredCampaign,
    learnt: Sequence[Measurement],
    heldout: Sequence[Measurement],
    sums_s: Sums | None,
) -> Judgement:
    found = judge(c.plan, space(c.plan.space), learnt, heldout, sums_s)
    return found[c.plan.devices[0]]


def _figures(found: Judgement, device_s: float | None, networks: int) -> dict[str, Any]:
    return {
        "spearman": found.spearman,
        "error_median": found.error_median,
        "within_5": found.within(0.05),
        "within_10": found.within(0.10),
        "coverage_95": found.coverage,
        "device_s": device_s,
        "networks_measured": networks,
    }


def _with_controls(store: Store, device: str) -> float:
    """Device seconds of everything, for each of kernels and networks."""
    own = sum(m.device_s for m in store.measurements(device=device))
    own += sum(m.device_s for m in store.measurements(device=device, purpose=KERNEL))
    controls = sum(m.device_s for m in store.measurements(device=device, purpose="control"))
    return (own + controls) / own


def _third(store: Store, device: str, searched: str) -> tuple[Sums, float]:
    """The sums if only a third of the kernels had been timed, and that third's share of the device
    seconds for all of them."""
    facts = store.facts(device)[-1]
    sample = space(searched).sample(300, np.random.default_rng(0))
    called = calls(store, searched, sample, 1)
    everything = times(store, facts, called.definitions)
    assert everything is not None
    timed = [code for code, one in everything.times.items() if one.measured]
    kept = set(chosen(called, (), len(timed) // 3))

    def found(_: str, networks: Sequence[Network]) -> KernelSum | None:
        own = calls(store, searched, networks, 1)
        known = times(store, facts, own.definitions, kept)
        return None if known is None else sums(own, known)

    spent_s = {m.network: m.device_s for m in store.measurements(device=device, purpose=KERNEL)}
    own_s = sum(s for n, s in spent_s.items() if n.code in kept or alone.is_once(n))
    return found, own_s / sum(spent_s.values())


def _counted(
    store: Store, device: str, heldout: Sequence[Measurement]
) -> dict[str, dict[str, float]]:
    """Of what a device counts beside seconds: how far the sum over a network's kernels is off, in
    the median and at most for nine networks of ten."""
    names = [name for name in _COUNTERS if name in heldout[0].blocks[0].telemetry]
    kernels = {m.network.code: m for m in store.measurements(device=device, purpose=KERNEL)}
    called = calls(store, heldout[0].network.space, [m.network for m in heldout], 1)
    found = {}
    for name in names:
        each = np.full(len(called.definitions), np.nan)
        for place, (code, text) in enumerate(called.definitions.items()):
            if code in kernels:
                run = kernels[code].blocks[0].telemetry[name]
                each[place] = run / alone.calls_in(alone.defined(text))
        summed = np.where(called.counts == 0, 0.0, called.counts * each).sum(axis=1)
        counted = np.array([m.blocks[0].telemetry[name] for m in heldout])
        off = np.abs(summed / counted - 1)[np.isfinite(summed)]
        found[name] = {"median": float(np.median(off)), "p90": float(np.quantile(off, 0.9))}
    return found


def _apart(first: Sequence[Measurement], second: Sequence[Measurement]) -> dict[str, Any]:
    both = {m.network: m.latency_s for m in second}
    pairs = np.array([(m.latency_s, both[m.network]) for m in first if m.network in both])
    ratio = pairs[:, 1] / pairs[:, 0]
    return {
        "spearman": spearman(pairs[:, 0], pairs[:, 1]),
        "median_rel_diff": float(np.median(np.abs(ratio - 1))),
    }


def _say(campaign: str, elapsed_s: float) -> None:
    print(f"\r{campaign}: {elapsed_s:.0f} s  ", end="", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.kernels", description=__doc__)
    parser.add_argument("--case", nargs="+", default=CASES, help="DEVICE:SPACE, such as cpu1:nb201")
    parser.add_argument("--holdout", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    kept = "a folder that keeps what is measured; what it has already is only judged"
    parser.add_argument("--stores", type=Path, help=kept)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    summary: dict[str, Any] = {"published": PUBLISHED}
    rows: list[Mapping[str, Any]] = []
    for name in given.case:
        device, _, searched = name.partition(":")
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) if given.stores is None else given.stores / name
            folder.mkdir(parents=True, exist_ok=True)
            found, own = case(device, searched, given.holdout, given.seed, folder)
        summary[name] = found
        rows += own
        _say(name, 0.0)
        print(json.dumps(found), file=sys.stderr, flush=True)
    report.finish("kernels", rows, summary, given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
