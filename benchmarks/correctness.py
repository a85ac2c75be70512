"""Whether compiled networks compute what onnxruntime computes.

    python -m benchmarks.correctness --networks 200 --aarch64 20 --cuda 10 --seed 0 [--json]

Host: random networks of NAS-Bench-201 and FBNet, half of each, built for this computer and run;
all outputs are compared. aarch64: networks of NAS-Bench-201 and FBNet at 32x32, built for a
Raspberry Pi 4 and run under QEMU's emulation of a process; 16 of the outputs, which for
NAS-Bench-201 are all. CUDA: networks built for sm_90; what is compared is only which architectures
the library holds machine code for, as no GPU is needed here.

A deviation is the largest difference of an output, as a share of the largest output; the tolerance
is the one that every build is held to (`farm.compile.oracle`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import host_target, model_of, sample
from benchmarks.report import finish
from farm.compile import check, cuda, fuse, graph, oracle
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.compile.kernel_cache import KernelCache
from farm.compile.prepare import prepared
from farm.core.values import Artifact, Target

PI4 = "raspberry-pi/4b-aarch64"
SM_90 = {"kind": "cuda", "arch": "sm_90"}

Row = dict[str, Any]
Builder = Callable[[str, Target], Artifact]


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
        store, kernels = ArtifactStore(folder), KernelCache(Path(folder) / "kernels")

        def built(name: str, target: Target) -> Artifact:
            return build(model_of(name), target, store, kernels)

        rows = [
            *_shown(on_host(_names("nb201", "fbnet", options.networks, options.seed), built)),
            *_shown(on_arm64(_names("nb201", "fbnet32", options.aarch64, options.seed), built)),
            *_shown(for_cuda(_names("nb201", "fbnet32", options.cuda, options.seed), built)),
        ]
    finish("correctness", rows, summary(rows), options.json)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.correctness", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    counts = {
        "networks": (200, "networks that run on this computer"),
        "aarch64": (0, "networks that run under QEMU; a Debian for arm64 is downloaded once"),
        "cuda": (0, "networks that are built for sm_90; needs nvcc, and 10 s for each"),
        "seed": (0, "draws the networks"),
    }
    for name, (default, text) in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


def _names(first: str, second: str, count: int, seed: int) -> list[str]:
    return sample(first, count - count // 2, seed) + sample(second, count // 2, seed)


def _shown(rows: Iterable[Row]) -> Iterable[Row]:
    for number, row in enumerate(rows, 1):
        print(f"{row['platform']} {number}: {row['network']}", file=sys.stderr, flush=True)
        yield row


def on_host(names: Iterable[str], built: Builder) -> Iterable[Row]:
    """Rows of networks that run in this process, all of their outputs compared."""
    for name in names:
        artifact = built(name, host_target())
        model = prepared(model_of(name))
        packed = fuse.plan(graph.read(model)).packed
        program = artifact.program
        (expected,) = oracle.expected(model, program.inputs, packed, program.seed)
        yield _row("host", name, _output(artifact), expected)


def _output(artifact: Artifact) -> np.ndarray:
    """All that a library computes, in this process."""
    import tvm
    from tvm import relax

    arguments = oracle.arguments(artifact.program.inputs, artifact.program.seed).values()
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(artifact.library)), tvm.cpu())
    output: np.ndarray = machine["main"](*map(tvm.runtime.tensor, arguments)).numpy()
    return output.ravel()


def on_arm64(names: Sequence[str], built: Builder) -> Iterable[Row]:
    """Rows of networks that run under QEMU, their first outputs compared."""
    if not names:
        return
    from tests import arm64

    with arm64.runner() as runner:
        for name in names:
            artifact = built(name, PI4)
            (found,) = check.outputs(artifact.library, artifact.program, runner)
            yield _row("aarch64", name, np.array(found), np.array(artifact.program.expected))


def for_cuda(names: Iterable[str], built: Builder) -> Iterable[Row]:
    """Rows of networks that are built for a GPU, with what machine code is in them."""
    for name in names:
        library = built(name, SM_90).library.read_bytes()
        yield {"platform": "cuda", "network": name, "architectures": cuda.architectures(library)}


def _row(platform: str, name: str, found: np.ndarray, expected: np.ndarray) -> Row:
    largest = float(np.abs(expected).max())
    deviation = float(np.abs(found - expected).max()) / largest
    return {"platform": platform, "network": name, "outputs": len(found), "deviation": deviation}


def summary(rows: Sequence[Row]) -> Row:
    """How many networks of each platform there are, and the largest deviation."""
    result: Row = {"tolerance": oracle.RELATIVE_TOLERANCE}
    for platform in ("host", "aarch64"):
        deviations = [row["deviation"] for row in rows if row["platform"] == platform]
        result |= {f"{platform}_networks": len(deviations)}
        result |= {f"{platform}_worst_deviation": max(deviations, default=None)}
    found = [row["architectures"] for row in rows if row["platform"] == "cuda"]
    result |= {"cuda_networks": len(found)}
    return result | {"cuda_architectures": sorted({arch for each in found for arch in each})}


if __name__ == "__main__":
    main()
