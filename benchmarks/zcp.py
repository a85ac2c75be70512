"""Do our zero-cost proxies rank networks as the published ones do, and how long do they take?

    python -m benchmarks.zcp --networks 40 --batch 16 --seed 0 [--json]

For random networks of NAS-Bench-201 and FBNet that have published proxies: Spearman's rank
correlation of each, on normal images and random labels, and the CPU seconds of all 12 together.
Published proxies come from $FARM_DATA, else ../shared/data.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import published, report
from farm.core.errors import FarmError
from farm.prediction.proxies import measure
from farm.spaces import space
from farm.spaces.base import GraphSpace
from predictors.metrics import spearman

Row = dict[str, Any]

SPACES = {"nb201": "nb201", "fbnet": "fbnet32"}
"""Table and search space."""


def compare(table_name: str, networks: int, batch: int, seed: int) -> list[Row]:
    """One row for each network: its proxies as measured now, and as published."""
    table = published.load(published.folder() / f"{table_name}.npz")
    made = space(SPACES[table_name])
    known = np.flatnonzero(np.isfinite(table.zcp).all(1))
    chosen = np.random.default_rng(seed).choice(known, min(networks, len(known)), replace=False)
    return [_row(made, table, int(row), batch, seed) for row in chosen]  # type: ignore[arg-type]


def _row(made: GraphSpace, table: published.Table, row: int, batch: int, seed: int) -> Row:
    text = "".join(map(str, table.ops[row])) if table.texts is None else table.texts[row]
    network = made.parse(text)
    start = time.process_time()
    found = measure(made, network, seed=seed + row, batch=batch)
    spent_s = time.process_time() - start
    print(f"{network.id}: {spent_s:.2f} s", file=sys.stderr)
    told = dict(zip(table.zcp_names, map(float, table.zcp[row]), strict=True))
    return {"network": network.id, "cpu_s": spent_s, "measured": found, "published": told}


def summary(rows: Sequence[Row]) -> Row:
    """spearman: {proxy: rho}. cpu_s: mean."""
    names = rows[0]["published"]
    columns = {n: [[r[kind][n] for r in rows] for kind in ("measured", "published")] for n in names}
    rho = {n: spearman(*map(np.array, pair)) for n, pair in columns.items()}
    return {"spearman": rho, "cpu_s": float(np.mean([r["cpu_s"] for r in rows]))}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.zcp", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--networks", type=int, default=40, help="of each table (40)")
    parser.add_argument("--batch", type=int, default=16, help="images (16)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)
    try:
        found = {n: compare(n, options.networks, options.batch, options.seed) for n in SPACES}
    except FarmError as error:
        print(f"zcp: {error}", file=sys.stderr)
        return error.exit_code
    flat = [{"table": name, **row} for name, rows in found.items() for row in rows]
    if not options.json:
        flat = [{key: row[key] for key in ("table", "network", "cpu_s")} for row in flat]
    report.finish("zcp", flat, {name: summary(rows) for name, rows in found.items()}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
