"""Does a campaign that ended by its `--max-error` keep its word for networks it never saw?

    python -m benchmarks.goal --seeds 10 --max-error 0.05 --json

For each seed a campaign with a store of its own runs on this computer until it ends by itself, and
predicts fresh networks. These are measured once, in a store of their own, at the device's precision
and without any kernels. A seed keeps its word where the median error of the fresh networks is at
most what was asked for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import finish
from farm import Launch
from farm.core.values import Network
from farm.farm import Farm
from farm.measurement.record import Measurement
from predictors import metrics

FRESH_SEED = 1000
"""Draws the fresh networks; no campaign has it."""

CLUSTER = """\
store: results
devices:
  cpu1: {kind: cpu, threads: 1}
"""


def fresh(folder: Path, searched: str, count: int) -> dict[Network, Measurement]:
    """Random networks as they were measured."""
    farm = _farm(folder)
    asked = Launch(
        space=searched,
        devices=["cpu1"],
        budget=count,
        holdout=0,
        seed=FRESH_SEED,
        select="random",
        kernels=False,
    )
    farm.launch(asked, "inline")
    with farm.store() as store:
        return {m.network: m for m in store.measurements(purpose="learn")}


def one(
    folder: Path, searched: str, max_error: float, seed: int, truth: Mapping[Network, Measurement]
) -> dict[str, Any]:
    """A campaign, and how far its predictions of fresh networks are off."""
    farm = _farm(folder)
    asked = Launch(space=searched, devices=["cpu1"], max_error=max_error, seed=seed)
    summary = farm.launch(asked, "inline").to_json()
    with farm.store() as store:
        known = {m.network for m in store.measurements(device="cpu1")}
    unseen = [network for network in truth if network not in known]
    found = farm.predict([network.id for network in unseen], "cpu1")
    measured_s = np.array([truth[network].latency_s for network in unseen])
    off = np.abs(found.latency_s / measured_s - 1)
    inside = (found.low_s <= measured_s) & (measured_s <= found.high_s)
    return {
        "seed": seed,
        "networks": summary["measured"],
        "device_s": summary["devices"]["cpu1"]["device_s"],
        "wall_s": summary["wall_s"],
        "fresh": len(unseen),
        "error_median": float(np.median(off)),
        "within_5": float(np.mean(off <= 0.05)),
        "coverage_95": float(np.mean(inside)),
        "spearman": metrics.spearman(found.latency_s, measured_s),
        "kept": bool(np.median(off) <= max_error),
    }


def _farm(folder: Path) -> Farm:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cluster.yaml").write_text(CLUSTER)
    return Farm.open(folder / "cluster.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first campaign")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--space", default="nb201")
    parser.add_argument("--max-error", type=float, default=0.05, help="relative")
    parser.add_argument("--fresh", type=int, default=50, help="networks that judge")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = fresh(folder / "fresh", given.space, given.fresh)
        for seed in range(given.seed, given.seed + given.seeds):
            rows.append(one(folder / str(seed), given.space, given.max_error, seed, truth))
            print(rows[-1], file=sys.stderr, flush=True)
    summary = {
        "max_error": given.max_error,
        "kept": sum(row["kept"] for row in rows),
        "seeds": len(rows),
        "error_median": float(np.median([row["error_median"] for row in rows])),
        "coverage_95": float(np.mean([row["coverage_95"] for row in rows])),
    }
    finish("goal", rows, summary, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
