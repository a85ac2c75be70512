"""How fast networks are compiled, and how fast the result runs.

    python -m benchmarks.compile --networks 50 --seed 0 [--fbnet 10] [--stock 5] [--json]

Cold: random NAS-Bench-201 networks (and `--fbnet` of FBNet) with an empty kernel cache, by
`--processes` compile actors at once. Warm: the same networks again on one core, from the kernels
in the cache; reading ONNX, linking, onnxruntime's reference and the check of the output are all
in it, TVM's start is not. Stock: `tvm.compile` with the default fusing pipeline on the first
`--stock` of these networks, as exported with their weights; writing the library is in it, importing
TVM is not, each in a process of its own.

Kernels: each row says how many kernels its network needs and how many of those no network before
it had; the later half of the cold networks finds nearly all, and says what the rest of the space
will take. `space_s` is a projection from it, for as many processes. The larger `--networks`, the
more of it is measured.

Latency: one thread on one core; our library, stock TVM's, and onnxruntime with the weights as
constants and all its optimisations, in turns; the minimum over the rounds counts. Each network's
engines are made three times.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.networks import host_target, model_of, sample
from benchmarks.report import finish
from farm.compile import check, fuse, graph, oracle
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.compiler import compiler
from farm.compile.groups import Group, Operation
from farm.compile.kernel_cache import KernelCache
from farm.compile.prepare import prepared
from farm.core.values import digest
from farm.spaces import space

INSTANCES = 3
"""Times that every engine is made anew: an unlucky placement of its memory costs some of them a
third of their speed, as long as they live."""

ROUNDS = 3
ROUND_S = 0.05
MIN_RUNS = 3

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """See the flags."""

    networks: int
    fbnet: int
    latency: int
    stock: int
    processes: int
    seed: int
    json: bool

    @classmethod
    def parse(cls, argv: Sequence[str] | None) -> Options:
        parser = argparse.ArgumentParser(prog="benchmarks.compile", description=__doc__)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        counts = {
            "networks": (50, "NAS-Bench-201 networks that are compiled"),
            "fbnet": (10, "FBNet networks that are compiled and timed"),
            "latency": (40, "NAS-Bench-201 networks that are timed"),
            "stock": (5, "networks that stock TVM compiles, too; it takes 5 to 10 s for each"),
            "processes": (len(os.sched_getaffinity(0)), "compile actors for the cold build"),
            "seed": (0, "draws the networks"),
        }
        for name, (default, text) in counts.items():
            parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
        return cls(**vars(parser.parse_args(argv)))


def main(argv: Sequence[str] | None = None) -> None:
    options = Options.parse(argv)
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
        rows, summary = _run(options, Path(folder))
    finish("compile", rows, summary, options.json)


def _run(options: Options, folder: Path) -> tuple[list[Row], Row]:
    networks = sample("nb201", options.networks, options.seed)
    others = sample("fbnet", options.fbnet, options.seed)
    rows = {name: {"network": name} for name in [*networks, *others]}
    for row in kernels_needed(networks):
        rows[row["network"]] |= row
    cold_s, peaks = _cold(networks, options.processes, folder, rows)
    _in_process(build_all, [], others, folder / "artifacts", folder / "kernels", "cold", each=rows)
    one = sorted(os.sched_getaffinity(0))[:1]
    _say("warm")
    _in_process(
        build_all,
        one,
        [*networks, *others],
        folder / "again",
        folder / "kernels",
        "warm",
        each=rows,
    )
    for name in networks[: options.stock]:
        _say(f"stock {name}")
        rows[name] |= _in_process(stock, [], name, folder)
    timed = [*networks[: options.latency], *others]
    libraries = {name: rows[name].pop("library") for name in timed if "library" in rows[name]}
    _in_process(latencies, one, timed, folder, libraries, each=rows)
    return list(rows.values()), _summary(options, rows, networks, cold_s, max(peaks))


def kernels_needed(names: Sequence[str]) -> Iterator[Row]:
    """Rows with a network's kernels, and how many of them the networks before it do not have."""
    known: set[Group | Operation] = set()
    for name in names:
        plan = fuse.plan(graph.read(prepared(model_of(name))))
        needed = {call.kernel for call in plan.calls}
        yield {"network": name, "kernels": len(needed), "new_kernels": len(needed - known)}
        known |= needed


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# What runs in processes of its own


def _in_process(
    work: Callable[..., Any],
    cores: Sequence[int],
    *arguments: Any,
    each: dict[str, Row] | None = None,
) -> Any:
    """`work(*arguments)` in a fresh process on `cores`; its rows are added to those in `each`."""
    with ProcessPoolExecutor(1, get_context("spawn"), _start, (list(cores),)) as pool:
        result = pool.submit(work, *arguments).result()
    for row in result[0] if each is not None else ():
        each[row["network"]] |= row
    return result


def _start(cores: list[int]) -> None:
    os.environ.update(TVM_NUM_THREADS="1", TVM_BIND_THREADS="0")
    if cores:
        os.sched_setaffinity(0, cores)


def _cold(
    names: Sequence[str], processes: int, folder: Path, rows: dict[str, Row]
) -> tuple[float, list[float]]:
    """Wall seconds for all networks, the start of the processes included, and their peaks."""
    started_s = time.monotonic()
    places = (folder / "artifacts", folder / "kernels", "cold")
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, ([],)) as pool:
        parts = [pool.submit(build_all, names[i::processes], *places) for i in range(processes)]
        results = [part.result() for part in parts]
    for built, _ in results:
        for row in built:
            rows[row["network"]] |= row
    return time.monotonic() - started_s, [peak for _, peak in results]


def build_all(
    names: Sequence[str], artifacts: Path, kernels: Path, label: str
) -> tuple[list[Row], float]:
    """Builds networks one after the other; the rows, and the peak memory of the actor in MB."""
    target = host_target()
    compiler().target(target)
    rows = []
    for number, name in enumerate(names):
        model = model_of(name)
        started_s = time.monotonic()
        artifact = build(model, target, ArtifactStore(artifacts), KernelCache(kernels))
        wall_s = time.monotonic() - started_s
        library = artifact.library.read_bytes()
        rows.append(
            {
                "network": name,
                f"{label}_wall_s": wall_s,
                f"{label}_cpu_s": artifact.build_s,
                "library_bytes": len(library),
                "compressed_bytes": len(zlib.compress(library)),
            }
        )
        if number % 20 == 0:
            _say(f"{label} {number} of {len(names)}: {wall_s:.2f} s")
    return rows, _peak_mb()


def stock(name: str, folder: Path) -> Row:
    """Stock TVM on one network: CPU seconds to compile and export, and the library."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    target = tvm.target.Target(host_target())
    model = _with_constants(model_of(name))
    started_s = sum(os.times()[:4])
    pipeline = relax.get_default_pipeline(target)
    executable = tvm.compile(from_onnx(model), target, relax_pipeline=pipeline)
    library = folder / f"stock-{digest(name)[:16]}.so"
    executable.export_library(str(library))
    return {"stock_cpu_s": sum(os.times()[:4]) - started_s, "library": str(library)}


def latencies(
    names: Sequence[str], folder: Path, libraries: Mapping[str, str]
) -> tuple[list[Row], None]:
    """Latency in seconds of each engine on each network; libraries: of stock TVM, by network."""
    rows = []
    for name in names:
        rows.append({"network": name} | _latency(name, folder, libraries.get(name)))
        _say(f"latency {name}: {rows[-1]['ratio_ort']:.2f} of onnxruntime's")
    return rows, None


def _latency(name: str, folder: Path, stock_library: str | None) -> Row:
    model = model_of(name)
    kernels = KernelCache(folder / "kernels")
    artifact = build(model, host_target(), ArtifactStore(folder / "artifacts"), kernels)
    ours = oracle.arguments(artifact.program.inputs, seed=0)
    image = next(iter(ours.values()))
    makers = {
        "ours": lambda: _tvm_engine(artifact.library, list(ours.values())),
        "ort": lambda: _onnxruntime_engine(_with_constants(model), image),
    }
    if stock_library:
        makers["stock"] = lambda: _tvm_engine(Path(stock_library), [image])
    best = _minima(makers)
    row = {f"{engine}_s": value for engine, value in best.items()}
    return row | {"ratio_ort": best["ours"] / best["ort"]} | _stock_ratio(best)


def _stock_ratio(best: Mapping[str, float]) -> Row:
    return {"ratio_stock": best["ours"] / best["stock"]} if "stock" in best else {}


def _minima(makers: Mapping[str, Callable[[], Callable[[], None]]]) -> dict[str, float]:
    """The fastest run of each engine; they take turns, so that all see the host's moods."""
    best = dict.fromkeys(makers, float("inf"))
    for _ in range(INSTANCES):
        engines = {name: make() for name, make in makers.items()}
        for _, (name, run) in product(range(ROUNDS), engines.items()):
            best[name] = min(best[name], *_timed(run))
    return best


def _timed(run: Callable[[], None]) -> Iterator[float]:
    until_s, runs = time.perf_counter() + ROUND_S, 0
    while runs < MIN_RUNS or time.perf_counter() < until_s:
        started_s = time.perf_counter()
        run()
        yield time.perf_counter() - started_s
        runs += 1


def _tvm_engine(library: Path, arguments: Sequence[np.ndarray]) -> Callable[[], None]:
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    machine.save_function("main", "timed", *map(tvm.runtime.tensor, arguments))
    run: Callable[[], None] = machine["timed"]
    return run


def _with_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as a framework exports it, with its weights in it."""
    values = oracle.arguments(oracle.tensor_specs(model), seed=0)
    constant = onnx.ModelProto()
    constant.CopyFrom(model)
    weights = list(constant.graph.input)[1:]
    del constant.graph.input[1:]
    constant.graph.initializer.extend(
        numpy_helper.from_array(values[weight.name], weight.name) for weight in weights
    )
    return constant


def _onnxruntime_engine(model: onnx.ModelProto, image: np.ndarray) -> Callable[[], None]:
    """onnxruntime at its best: weights are constants, input and output are bound once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, image)
    binding.bind_output(session.get_outputs()[0].name)
    return lambda: session.run_with_iobinding(binding)


def _peak_mb() -> float:
    """Peak resident memory of this process, its compiler and its runner together."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return own + sum(_peak_of(pid) for pid in (compiler().pid, check.pid()) if pid)


def _peak_of(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _summary(
    options: Options,
    rows: Mapping[str, Row],
    networks: Sequence[str],
    cold_s: float,
    peak_mb: float,
) -> Row:
    def column(key: str, names: Sequence[str] = tuple(rows)) -> list[float]:
        return [rows[name][key] for name in names if key in rows[name]]

    stock_s, ratios = column("stock_cpu_s"), column("ratio_ort")
    warm_s = column("warm_wall_s", networks)
    return {
        "warm_networks_per_s": len(warm_s) / sum(warm_s),
        "stock_networks_per_s": 1 / mean(stock_s) if stock_s else None,
        "warm_cpu_s_per_network": mean(column("warm_cpu_s", networks)),
        "stock_cpu_s_per_network": mean(stock_s) if stock_s else None,
        "cold_networks": len(networks),
        "cold_s": cold_s,
        "cold_processes": options.processes,
        "cpu_s_per_network": mean(column("cold_cpu_s", networks)),
        **_plan(rows, networks, cold_s, options.processes),
        "latency_ratio_ort_median": median(ratios) if ratios else None,
        "latency_ratio_ort_worst": max(ratios, default=None),
        "latency_ratio_stock_median": median(column("ratio_stock")) if stock_s else None,
        "peak_rss_mb": peak_mb,
        "library_bytes": mean(column("library_bytes", networks)),
        "compressed_bytes": mean(column("compressed_bytes", networks)),
    }


def _plan(rows: Mapping[str, Row], networks: Sequence[str], cold_s: float, processes: int) -> Row:
    """What the space takes: the cold networks, then the rest at the pace of the later half."""
    later = networks[len(networks) // 2 :]
    size = space("nb201").size
    pace_s = mean(rows[name]["cold_wall_s"] for name in later) / processes
    return {
        "kernels": sum(rows[name]["new_kernels"] for name in networks),
        "kernels_new_per_network": sum(rows[name]["new_kernels"] for name in later) / len(later),
        "space_networks": size,
        "space_s": cold_s + (size - len(networks)) * pace_s,
        "space_basis": f"the later {len(later)} of {len(networks)} cold networks",
    }


if __name__ == "__main__":
    main()
