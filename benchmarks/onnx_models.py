"""Does any ONNX file compile, is it right, and is it as fast as onnxruntime?

    python -m benchmarks.onnx_models --seed 0 [--part graphs|models|light] [--limit N] [--json]

Graphs: all that the installed onnx package has for its own tests, the files that it ships and the
graphs of single operators that it makes when asked ("node"). `benchmarks/onnx_graphs.py` says which
are within reach. Ours: imported, compiled for this computer and checked against onnxruntime, as
`farm hwl FILE` does. Stock: TVM's importer, its default pipeline, one run, all outputs compared
with onnxruntime's. Each in a process of its own that may die, with `--timeout` seconds for a graph.
Outcomes: `verified`; `refused`, with the reason; `wrong`; `crash`; `timeout`. With a `--limit`: all
files, and random graphs of single operators.

Light: the nine light models as shipped, with an empty kernel cache: wall seconds to a checked
library; and stock TVM's.

Models: networks of `benchmarks/torch_models.py`, exported on the spot with seeded weights. Latency:
one thread on one core, our library and onnxruntime (the exported file with its weights as constants
and all optimisations) in turns; the mean of the fastest quarter of the blocks, of whose samples the
lower quartile counts, as the farm does it. Engines are made anew `INSTANCES` times.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx

from benchmarks import onnx_graphs
from benchmarks.onnx_graphs import Child, Graph
from benchmarks.report import finish
from farm.measurement.estimator import level, of_block

LIGHT = "light/"
"""How the names of the light models begin, which are a part of their own."""

PARTS = ("graphs", "light", "models")

INSTANCES = 3
"""Times that every engine is made anew: an unlucky placement of its memory costs some of them a
third of their speed, as long as they live."""

BLOCKS = 8
BLOCK_S = 0.1
MIN_RUNS = 4

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """See the flags."""

    part: tuple[str, ...]
    limit: int | None
    only: str
    timeout: float
    stock: bool
    seed: int
    json: bool

    @classmethod
    def parse(cls, argv: Sequence[str] | None) -> Options:
        parser = argparse.ArgumentParser(prog="benchmarks.onnx_models", description=__doc__)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument(
            "--part", action="append", choices=PARTS, help="all, if it is not given"
        )
        parser.add_argument("--limit", type=int, help="of each part, only so many")
        parser.add_argument("--only", default="", help="only what has this in its name")
        parser.add_argument("--timeout", type=float, default=300, help="seconds for a graph (300)")
        parser.add_argument(
            "--no-stock", dest="stock", action="store_false", help="without stock TVM"
        )
        parser.add_argument("--seed", type=int, default=0, help="draws weights and inputs (0)")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
        given = vars(parser.parse_args(argv))
        return cls(**{**given, "part": tuple(given["part"] or PARTS)})

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Of `names`, those that are asked for."""
        return [name for name in names if self.only in name][: self.limit]


def main(argv: Sequence[str] | None = None) -> None:
    options = Options.parse(argv)
    rows: list[Row] = []
    summary: Row = {}
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
        for part in options.part:
            found = _PARTS[part](options, Path(folder))
            rows += found
            summary |= _SUMMARIES[part](found)
    finish("onnx_models", rows, summary, options.json)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Graphs


def _graphs(options: Options, folder: Path) -> list[Row]:
    (folder / "nodes").mkdir()
    found = onnx_graphs.graphs(folder / "nodes")
    graphs = [g for g in found if options.only in g.name and not g.name.startswith(LIGHT)]
    rows = {graph.name: _graph_row(graph) for graph in graphs}
    engines = {"ours": onnx_graphs.ours} | ({"stock": onnx_graphs.stock} if options.stock else {})
    children = {
        engine: Child(work, folder / engine, options.timeout, options.seed)
        for engine, work in engines.items()
    }
    reach = [graph for graph in graphs if rows[graph.name]["out_of_reach"] is None]
    for graph, (engine, child) in product(_sample(reach, options), children.items()):
        rows[graph.name] |= _outcome(engine, child, graph)
    for child in children.values():
        child.close()
    return list(rows.values())


def _sample(graphs: Sequence[Graph], options: Options) -> list[Graph]:
    """The files, and as many random ones of the graphs of single operators as the limit leaves."""
    shipped = [graph for graph in graphs if not graph.name.startswith("node/")]
    nodes = [graph for graph in graphs if graph.name.startswith("node/")]
    if options.limit is None:
        return [*shipped, *nodes]
    drawn = np.random.default_rng(options.seed).permutation(len(nodes))
    return [*shipped, *(nodes[i] for i in drawn)][: options.limit]


def _graph_row(graph: Graph) -> Row:
    operators = Counter(node.op_type for node in onnx.load(graph.path).graph.node)
    return {
        "part": "graphs",
        "name": graph.name,
        "operators": " ".join(name for name, _ in operators.most_common(4)),
        "out_of_reach": onnx_graphs.out_of_reach(graph),
    }


def _outcome(engine: str, child: Child, graph: Graph) -> Row:
    started_s = time.monotonic()
    outcome, why = child(graph)
    wall_s = time.monotonic() - started_s
    if outcome != "verified":
        _say(f"{engine} {graph.name}: {outcome}: {why}")
    return {engine: outcome, f"{engine}_why": why, f"{engine}_s": round(wall_s, 3)}


def _graphs_summary(rows: Sequence[Row]) -> Row:
    reach = [row for row in rows if row["out_of_reach"] is None]
    tried = [row for row in reach if "ours" in row]
    result: Row = {
        "graphs": len(rows),
        "within_reach": len(reach),
        "within_reach_by_kind": Counter(row["name"].split("/")[0] for row in reach),
        "tried": len(tried),
        "tried_by_kind": Counter(row["name"].split("/")[0] for row in tried),
        "out_of_reach": Counter(r["out_of_reach"] for r in rows if r["out_of_reach"]),
    }
    for engine in ("ours", "stock"):
        outcomes = Counter(row[engine] for row in tried if engine in row)
        if outcomes:
            result |= {
                engine: outcomes,
                f"{engine}_share": outcomes["verified"] / len(tried),
                f"{engine}_not_verified": {
                    row["name"]: f"{row['operators']}: {row[engine]}: {row[f'{engine}_why']}"
                    for row in tried
                    if row[engine] != "verified"
                },
            }
    return result


# Light models


def _light(options: Options, folder: Path) -> list[Row]:
    (folder / "light").mkdir()
    every = {g.name: g for g in onnx_graphs.shipped() if g.name.startswith(LIGHT)}
    rows = []
    for number, name in enumerate(options.chosen(list(every))):
        # Of its own, so that nothing is in a cache.
        child = Child(onnx_graphs.ours, folder / f"light-{number}", options.timeout, options.seed)
        rows.append({"part": "light", "name": name} | _outcome("ours", child, every[name]))
        _say(f"{name}: {rows[-1]['ours_s']:.1f} s")
        child.close()
        if options.stock:
            child = Child(onnx_graphs.stock, folder, options.timeout, options.seed)
            rows[-1] |= _outcome("stock", child, every[name])
            child.close()
    return rows


def _light_summary(rows: Sequence[Row]) -> Row:
    return {
        "light_models": len(rows),
        "light_verified": sum(row["ours"] == "verified" for row in rows),
        "light_verified_stock": sum(row.get("stock") == "verified" for row in rows),
        "light_cold_s_worst": max((row["ours_s"] for row in rows), default=None),
    }


# Models


def _models(options: Options, folder: Path) -> list[Row]:
    from benchmarks.torch_models import NETWORKS, export

    rows = []
    for number, name in enumerate(options.chosen(list(NETWORKS))):
        path = folder / f"model{number}.onnx"
        export(name, path, options.seed)
        child = Child(_timed, folder / "models", options.timeout, options.seed)
        started_s = time.monotonic()
        outcome, found = child(Graph(name, path, {}))
        child.close()
        row: Row = {"part": "models", "name": name, "ours": outcome}
        row["wall_s"] = round(time.monotonic() - started_s, 3)
        rows.append(row | (found if outcome == "verified" else {"ours_why": found}))
        _say(f"{name}: {rows[-1]}")
    return rows


def _models_summary(rows: Sequence[Row]) -> Row:
    ratios = [row["ratio_ort"] for row in rows if "ratio_ort" in row]
    return {
        "models": len(rows),
        "models_verified": sum(row["ours"] == "verified" for row in rows),
        "latency_ratio_ort_median": median(ratios) if ratios else None,
        "latency_ratio_ort_worst": max(ratios, default=None),
    }


def _timed(graph: Graph, folder: Path, seed: int) -> Row:
    """Seconds to build a model, and of both engines. Runs in a process of its own."""
    os.environ.update(TVM_NUM_THREADS="1", TVM_BIND_THREADS="0")
    started_s = time.monotonic()
    artifact = onnx_graphs.built(graph.path, folder)
    built_s = time.monotonic() - started_s
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    inputs = onnx_graphs.seeded(graph, seed)
    found = _levels(
        {
            "ours": lambda: _tvm_engine(artifact, seed),
            "ort": lambda: _onnxruntime_engine(graph.path, inputs),
        }
    )
    seconds = {f"{engine}_latency_s": value for engine, value in found.items()}
    return {"built_s": built_s, **seconds, "ratio_ort": found["ours"] / found["ort"]}


def _levels(makers: Mapping[str, Callable[[], Callable[[], None]]]) -> dict[str, float]:
    """Seconds of each engine; they take turns, so that all see the host's moods."""
    blocks: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(INSTANCES):
        engines = {name: make() for name, make in makers.items()}
        for run in engines.values():
            run()
        for _, (name, run) in product(range(BLOCKS), engines.items()):
            blocks[name].append(of_block(_samples(run)))
    return {name: level(values) for name, values in blocks.items()}


def _samples(run: Callable[[], None]) -> list[float]:
    samples: list[float] = []
    until_s = time.perf_counter() + BLOCK_S
    while len(samples) < MIN_RUNS or time.perf_counter() < until_s:
        started_s = time.perf_counter()
        run()
        samples.append(time.perf_counter() - started_s)
    return samples


def _tvm_engine(artifact: Any, seed: int) -> Callable[[], None]:
    import tvm
    from tvm import relax

    from farm.compile import oracle

    values = oracle.arguments(artifact.program.inputs, seed)
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(artifact.library)), tvm.cpu())
    machine.save_function("main", "timed", *map(tvm.runtime.tensor, values.values()))
    run: Callable[[], None] = machine["timed"]
    return run


def _onnxruntime_engine(path: Path, inputs: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """onnxruntime at its best: weights are constants, inputs and outputs are bound once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_cpu_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


_PARTS = {"graphs": _graphs, "light": _light, "models": _models}
_SUMMARIES = {"graphs": _graphs_summary, "light": _light_summary, "models": _models_summary}


if __name__ == "__main__":
    main()
