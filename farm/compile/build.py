"""An ONNX model becomes an artifact: built once, checked against onnxruntime, stored."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from farm.compile import cuda, oracle
from farm.compile import target as targets
from farm.compile.artifacts import ArtifactStore
from farm.compile.compiler import TargetFacts, compiler, process_cpu_s
from farm.compile.kernel_cache import KernelCache, kernel_cache
from farm.compile.linking import link
from farm.core.errors import BuildError, CompilerLost
from farm.core.values import Artifact, Program, Target, digest

if TYPE_CHECKING:
    import onnx


_COMPILERS = ("apache-tvm", "apache-tvm-ffi", "onnxruntime")


def build_key(model: onnx.ModelProto, target: Target) -> str:
    """64 hex digits that name the artifact of `model` for `target`. Imports no TVM."""
    graph = sha256(model.SerializeToString(deterministic=True)).hexdigest()
    toolkit = [cuda.nvcc_version()] if cuda.is_cuda(target) else []
    return digest([graph, targets.canonical(target), _compiler_digest(), *toolkit])


def build(
    model: onnx.ModelProto,
    target: Target,
    store: ArtifactStore,
    kernels: KernelCache | None = None,
) -> Artifact:
    """The artifact of `model` for `target`: from the store, or built, checked and stored.

    model: float32 with static shapes; the network's input first, then weights and biases.
    kernels: where kernels are kept for other networks; by default a folder beside the artifacts.
    Raises TargetError, BuildError, StoreFull.
    """
    key = build_key(model, target)
    stored = store.get(key)
    if stored is not None:
        return stored
    from farm.compile import graph
    from farm.compile.prepare import prepared

    started_s = _cpu_s()
    if cuda.is_cuda(target):  # nothing to check against: this host has no GPU
        model = prepared(model)
        graph.read(model)  # refuses what no target may have
        library = cuda.library(model, target)
        return store.put(key, library, oracle.program(model), _cpu_s() - started_s)
    facts = compiler().target(target)
    made = partial(_made, target=target, facts=facts, kernels=kernels or kernel_cache(store))
    library, program = _checked(prepared(model), made) if facts.runs_here else made(prepared(model))
    return store.put(key, library, program, _cpu_s() - started_s)


_Maker = Callable[["onnx.ModelProto"], tuple[bytes, Program]]


def _checked(model: onnx.ModelProto, made: _Maker) -> tuple[bytes, Program]:
    """What `made` makes of a prepared model. Raises BuildError where that computes another one."""
    from farm.compile import check
    from farm.compile.blame import blame

    def works(part: onnx.ModelProto) -> bool:
        try:
            check.check(*made(part))
        except CompilerLost:
            raise
        except BuildError:
            return False
        return True

    library, program = made(model)
    try:
        check.check(library, program)
    except CompilerLost:  # which says nothing of the model
        raise
    except BuildError as error:
        raise BuildError(f"{error}; {blame(model, works)}") from error
    return library, program


def _made(
    model: onnx.ModelProto, target: Target, facts: TargetFacts, kernels: KernelCache
) -> tuple[bytes, Program]:
    """The library and the program of a prepared model."""
    from farm.compile import fuse, graph, tuning

    plan = tuning.tuned(fuse.plan(graph.read(model)), target)
    library = link(plan, target, facts.triple, kernels)
    return library, oracle.program(model, plan.packed)


def _cpu_s() -> float:
    """CPU seconds so far of this process, the compilers, the runner, and their ended children."""
    from farm.compile import check

    pids = (compiler().pid, cuda.compiler().pid, check.pid())
    return sum(os.times()[:4]) + sum(map(process_cpu_s, pids))


@cache
def _compiler_digest() -> str:
    """Digest of versions and of this package's sources: an artifact depends on nearly all."""
    folder = Path(__file__).parent
    files = sorted(folder.rglob("*.py"))
    sources = [(str(p.relative_to(folder)), sha256(p.read_bytes()).hexdigest()) for p in files]
    return digest([{name: version(name) for name in _COMPILERS}, sources])
