"""How many networks a minute, and at what cost, against TVM's RPC tracker and server?

    python -m benchmarks.throughput --networks 60 --cold 400 --stock 6 --seed 0 [--json]

Both measure the same random NAS-Bench-201 networks on one core of this computer, in turns. Ours are
campaigns as `farm launch` runs them, control networks, decisions and the store included: one of
`--cold` networks from an empty store, which compiles (`cold`), with `--executor`, whose start
counts; and, inline, of `--networks` that find everything compiled, at each of `PRECISIONS` twice.
The tracker's (`benchmarks/rpc_tracker.py`) time the libraries that we compiled, with each of
`SETTINGS` twice, and `--stock` of the networks compiled by `tvm.compile` with the default pipeline
and timed at once.

A row's repeatability is how far its two runs are apart: `median_rel_diff`, `p95_rel_diff`.
`device_s`: for how long a network held the device. `cost_s`: the device seconds to know a latency
to 1 %, `device_s * (median_rel_diff / 1 %) ** 2`, as errors fall with the root of time.

ratio_precompiled: our networks a minute that are known to 5 %, for the tracker's: of each, the
setting with most. Where 95 % of the pairs are not within 5 % * sqrt(2), a network is measured so
many times more often. ratio_as_they_are: the same where nobody asks how precise they are.
ratio_with_compile: networks known to 5 % with compiling, our campaign from an empty kernel cache:
the tracker compiles each once, and then times it as often as that takes. The same as they are:
ratio_with_compile_as_they_are. ratio_equal_precision: our device seconds at equal precision for the
tracker's: of each, the setting that costs least.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compile import stock
from benchmarks.fidelity import differences
from benchmarks.report import finish
from benchmarks.rpc_tracker import Library, timed, tracker
from farm.core.values import Network
from farm.farm import Farm, Launch

CLUSTER = "store: results\ndevices:\n  cpu1: {kind: cpu, threads: 1}\n"

PRECISIONS = (0.05, 0.01)

SETTINGS: Mapping[str, Mapping[str, int]] = {
    "1 x 10": {"number": 10, "repeat": 1},
    "3 x 10": {"number": 10, "repeat": 3},
    "10 x 10": {"number": 10, "repeat": 10},
    "100 ms": {"number": 3, "repeat": 1, "min_repeat_ms": 100},
}
"""Of `time_evaluator`: as tutorials use it, and as MetaSchedule does."""

SHORTEST = "1 x 10"

WITHIN = 0.05 * math.sqrt(2)
"""How far two latencies may be apart that are both known to 5 %."""

Row = dict[str, Any]
Latencies = dict[Network, float]


def cold(farm: Farm, networks: int, seed: int, executor: str = "inline") -> Row:
    """A campaign that compiles everything."""
    began_s = time.monotonic()
    _campaign(farm, networks, PRECISIONS[0], seed, executor)
    return _row("farm, cold", networks, time.monotonic() - began_s)


def _campaign(
    farm: Farm, networks: int, precision: float, seed: int, executor: str = "inline"
) -> tuple[Latencies, float]:
    """Latencies, and the seconds for which the device was busy."""
    asked = Launch(
        **{"space": "nb201", "devices": ["cpu1"], "budget": networks, "holdout": 0, "seed": seed},
        **{"select": "random", "precision": precision, "kernels": False, "fresh": True},
    )
    summary = farm.launch(asked, executor)
    with farm.store() as store:
        found = store.measurements(summary.campaign.id, device="cpu1")
    return {m.network: m.latency_s for m in found}, summary.campaign.busy_s["cpu1"]


def ours(farm: Farm, networks: int, precision: float, seed: int) -> tuple[Row, Latencies]:
    """One campaign in which everything is compiled."""
    began_s = time.monotonic()
    latencies_s, busy_s = _campaign(farm, networks, precision, seed)
    row = _row(f"farm, {precision:.0%}", networks, time.monotonic() - began_s)
    return row | {"device_s": busy_s / networks}, latencies_s


def theirs(
    session: Any, libraries: Mapping[Network, Library], setting: str
) -> tuple[Row, Latencies]:
    """All libraries through the tracker."""
    began_s, found, held_s = time.monotonic(), {}, 0.0
    for network, library in libraries.items():
        found[network], seconds = timed(session, library, **SETTINGS[setting])
        held_s += seconds
    row = _row(f"tracker, {setting}", len(found), time.monotonic() - began_s)
    return row | {"device_s": held_s / len(found)}, found


def compiled_by_tvm(session: Any, networks: Iterable[Network], folder: Path) -> Row:
    """Stock TVM compiles, and the tracker times, with its shortest setting."""
    began_s, count = time.monotonic(), 0
    for network in networks:
        library = Path(stock(network.id, folder)["library"])
        timed(session, Library(library, [(1, 3, 32, 32)]), **SETTINGS[SHORTEST])
        count += 1
        _say(f"stock: {count} compiled")
    return _row("tracker, stock", count, time.monotonic() - began_s)


def libraries_of(farm: Farm, networks: Sequence[Network]) -> dict[Network, Library]:
    """What the farm compiled of each network."""
    artifacts = farm._artifacts()
    with farm.store() as store:
        keys = {m.network: m.build_key for m in store.measurements(device="cpu1")}
    found = {network: artifacts.get(keys[network] or "") for network in networks}
    return {
        network: Library(one.library, [tensor.shape for tensor in one.program.inputs])
        for network, one in found.items()
        if one is not None
    }


def paired(first: tuple[Row, Latencies], second: tuple[Row, Latencies]) -> Row:
    """One row of two runs of the same: what they cost on average, and how far they are apart."""
    (row, before_s), (other, after_s) = first, second
    common = [network for network in before_s if network in after_s]
    apart = differences(*(np.array([one[n] for n in common]) for one in (before_s, after_s)))
    means = {name: (row[name] + other[name]) / 2 for name in row if name != "what"}
    cost_s = means["device_s"] * (apart["median_rel_diff"] / 0.01) ** 2
    return {"what": row["what"], **means, **apart, "cost_s": cost_s}


def summarised(rows: Sequence[Row]) -> Row:
    """The ratios."""
    by_name = {row["what"]: row for row in rows}
    farm = [by_name[f"farm, {precision:.0%}"] for precision in PRECISIONS]
    peer = [by_name[f"tracker, {setting}"] for setting in SETTINGS]
    cold_row, stock_row = by_name["farm, cold"], by_name["tracker, stock"]
    known_cold = cold_row["per_minute"] / repeats(by_name[f"farm, {PRECISIONS[0]:.0%}"])
    compile_s = 60 / stock_row["per_minute"] - 60 / by_name[f"tracker, {SHORTEST}"]["per_minute"]
    known_stock = 60 / (compile_s + min(60 / known(row) for row in peer))
    return {
        "ratio_precompiled": max(map(known, farm)) / max(map(known, peer)),
        "ratio_as_they_are": _most(farm, "per_minute") / _most(peer, "per_minute"),
        "ratio_with_compile": known_cold / known_stock,
        "ratio_with_compile_as_they_are": cold_row["per_minute"] / stock_row["per_minute"],
        "ratio_equal_precision": min(r["cost_s"] for r in farm) / min(r["cost_s"] for r in peer),
    }


def known(row: Row) -> float:
    """Networks a minute that are known to 5 %."""
    return float(row["per_minute"] / repeats(row))


def repeats(row: Row) -> float:
    """How often a network has to be measured as in a row until it is known to 5 %."""
    return float(max(1.0, (row["p95_rel_diff"] / WITHIN) ** 2))


def _most(rows: Sequence[Row], column: str) -> float:
    return max(float(row[column]) for row in rows)


def run(
    networks: int, compiled: int, stock_networks: int, seed: int, executor: str = "inline"
) -> tuple[list[Row], Row]:
    """Rows and summary."""
    with _empty() as (farm, _):
        rows = [cold(farm, compiled, seed, executor)]
        _say(f"{rows[0]}")
    with _empty() as (farm, folder):
        cold(farm, networks, seed)
        with farm.store() as store:
            names = [m.network for m in store.measurements(device="cpu1")]
        with tracker() as session:
            libraries = libraries_of(farm, names)
            runs: dict[str, list[tuple[Row, Latencies]]] = {}
            for _ in range(2):
                made = [ours(farm, networks, precision, seed) for precision in PRECISIONS]
                made += [theirs(session, libraries, setting) for setting in SETTINGS]
                for one in made:
                    runs.setdefault(one[0]["what"], []).append(one)
                    _say(f"{one[0]}")
            rows += [paired(first, second) for first, second in runs.values()]
            rows.append(compiled_by_tvm(session, names[:stock_networks], folder))
    return rows, summarised(rows)


@contextmanager
def _empty() -> Iterator[tuple[Farm, Path]]:
    """A farm without a store, and its folder."""
    with tempfile.TemporaryDirectory(prefix="farm-throughput-") as text:
        folder = Path(text)
        (folder / "cluster.yaml").write_text(CLUSTER)
        yield Farm.open(folder / "cluster.yaml"), folder


def _row(what: str, networks: int, wall_s: float) -> Row:
    return {"what": what, "networks": networks, "per_minute": 60 * networks / wall_s}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="benchmarks.throughput", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--cold", type=int, default=60, help="networks that the farm compiles")
    parser.add_argument("--stock", type=int, default=6, help="networks that stock TVM compiles")
    parser.add_argument("--executor", choices=["inline", "ray"], default="inline")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    given = parser.parse_args(argv)
    rows, summary = run(given.networks, given.cold, given.stock, given.seed, given.executor)
    finish("throughput", rows, summary, given.json)


if __name__ == "__main__":
    main()
