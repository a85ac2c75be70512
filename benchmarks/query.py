"""How fast questions are answered: HWL of many networks, of one that is known, and of one from a
cold start.

    python -m benchmarks.query --seed 0 [--json]

A store of its own has 20 references, the first devices of the published NAS-Bench-201 table, each
with 64 networks measured (`--measured`). On one core.

`batch_10k_s`: HWL of 10,000 networks on all references, most of them predicted, by a predictor that
was made for this question; `batch_again_s`: by one that knows the references already. `cached_ms`:
HWL of one network that all of them measured, in the process; `cached_latency_ms`: its latency on
one device. `cold_cpu_s`: CPU seconds of `farm hwl` for it as a new process.

`stored_hwl_ms`, `stored_predict_ms`: CPU time of the same question by `Farm.hwl` and
`Farm.predict`, which open the store and ask it. `full_hwl_ms`, `full_predict_ms`: in a store that
has a million measurements (`--stored`) of the same space and devices besides; and their ratios.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import published
from benchmarks.copies import copy
from benchmarks.report import finish
from farm import Ask, Farm, Launch
from farm.core.values import Network
from farm.prediction.central import CentralPredictor
from farm.prediction.hwl import encode
from farm.spaces import space

ASKED, REFERENCES = 10_000, 20

REPEATS = 5
"""Of which the median counts."""


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="farm-query-") as folder:
        farm = _farm(Path(folder), options.measured, options.seed)
        networks = space("nb201").sample(ASKED, np.random.default_rng(options.seed + 1))
        rows = [*_batch(farm, networks), *_cached(farm), _cold(farm)]
        rows += _stored(farm, "stored")
        fill(farm, options.stored, options.seed)
        rows += _stored(farm, "full")
    found = {str(row["name"]): row["median"] for row in rows}
    ratios = {
        f"{what}_ratio": found[f"full_{what}_ms"] / found[f"stored_{what}_ms"] for what in ASKS
    }
    finish("query", rows, {**found, **ratios}, options.json)


def _farm(folder: Path, measured: int, seed: int) -> Farm:
    """A farm whose references measured the same networks, in a campaign of their own."""
    table = published.folder() / "nb201.npz"
    devices = published.load(table).devices[:REFERENCES]
    names = [device.lower() for device in devices]
    lines = [
        f"references: [{', '.join(names)}]",
        "measure: {min_sessions: 1, max_sessions: 1, rounds: 1, block_s: 0.001}",
        "controls: {every: 0}",
        "devices:",
    ]
    lines += [
        f"  {name}: {{kind: replay, table: {table}, column: {column}}}"
        for name, column in zip(names, devices, strict=True)
    ]
    (folder / "cluster.yaml").write_text("\n".join(lines) + "\n")
    farm = Farm.open(folder / "cluster.yaml")
    asked = Launch(
        space="nb201", devices=names, budget=measured, holdout=0, seed=seed, select="random"
    )
    farm.launch(asked, "inline")
    return farm


def _batch(farm: Farm, networks: Sequence[Network]) -> list[dict[str, object]]:
    """After a first question, which loads libraries and fits the reference set."""
    with farm.store() as store:
        encode(store, farm.config, networks[:1])

        def ask(predictor: CentralPredictor) -> None:
            found = encode(store, farm.config, networks, predictor=predictor)
            assert np.isfinite(found.values).all()

        known = CentralPredictor.of(store, farm.config)
        ask(known)
        return [
            _timed("batch_10k_s", 1, lambda: ask(CentralPredictor.of(store, farm.config))),
            _timed("batch_again_s", 1, lambda: ask(known)),
        ]


def _cached(farm: Farm) -> list[dict[str, object]]:
    network, device = _known(farm), farm.config.references[0]
    encoder, predictor = farm.encoder(), farm.predictor(device)
    assert set(encoder([network]).source.ravel()) == {"cached"}
    assert predictor([network]).measured.all()
    return [
        _timed("cached_ms", 1e3, lambda: encoder([network]).values),
        _timed("cached_latency_ms", 1e3, lambda: predictor([network]).latency_s),
    ]


def _cold(farm: Farm) -> dict[str, object]:
    """CPU seconds of a process."""
    words = ["hwl", _known(farm).id, "--measure", "never", "--config", str(farm.config.path)]
    script = "import sys; from farm.cli import main; sys.argv[0] = 'farm'; main()"
    each = []
    for _ in range(REPEATS):
        before = _children_s()
        subprocess.run(
            [sys.executable, "-c", script, *words], check=True, stdout=subprocess.DEVNULL
        )
        each.append(_children_s() - before)
    return _row("cold_cpu_s", each)


ASKS: dict[str, Callable[[Farm, str], object]] = {
    "hwl": lambda farm, network: farm.hwl(network, Ask()),
    "predict": lambda farm, network: farm.predict([network], farm.config.references[0]),
}


def _stored(farm: Farm, state: str) -> list[dict[str, object]]:
    """Questions whose answers are known, asked of the store."""
    network = _known(farm).id
    rows = []
    for what, ask in ASKS.items():
        ask(farm, network)
        known = partial(ask, farm, network)
        rows.append(_timed(f"{state}_{what}_ms", 1e3, known, 3 * REPEATS, time.process_time))
    return rows


def fill(farm: Farm, count: int, seed: int) -> None:
    """Copies of what was measured, under the names of other networks of the space."""
    known, columns = _known(farm).id, farm.config.references
    names = [n.id for n in space("nb201").all_networks() if n.id != known]  # type: ignore[attr-defined]
    drawn = np.random.default_rng(seed).integers(0, len(names), count)
    with farm.store() as store:
        copied = [store.news(name).added for name in columns]
    pairs = ((names[at], copied[row % len(copied)]) for row, at in enumerate(drawn.tolist()))
    copy(farm.config.store, pairs, of_campaign=False)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _known(farm: Farm) -> Network:
    """A network that all references measured."""
    with farm.store() as store:
        first = [m.network for m in store.measurements(campaign="c1")]
    count = Counter(first)
    return min(network for network, n in count.items() if n == len(farm.config.references))


def _timed(
    name: str,
    unit: float,
    ask: Callable[[], object],
    repeats: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, object]:
    each = []
    for _ in range(repeats or REPEATS):
        started_s = clock()
        ask()
        each.append((clock() - started_s) * unit)
    return _row(name, each)


def _row(name: str, each: Sequence[float]) -> dict[str, object]:
    return {"name": name, "median": median(each), "fastest": min(each), "slowest": max(each)}


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.query", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--measured", type=int, default=64, help="networks on each reference (64)")
    parser.add_argument(
        "--stored", type=int, default=1_000_000, help="measurements in the full store (a million)"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the networks (0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
