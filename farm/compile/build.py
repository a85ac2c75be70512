"""An ONNX model becomes an artifact: built once, checked against onnxruntime, stored."""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.compile import target as targets
from farm.compile.artifacts import ArtifactStore
from farm.compile.kernels import KernelCache, StoredKernel, kernel_key
from farm.types import Artifact, Target, digest

if TYPE_CHECKING:
    import onnx

    from farm.compile.fuse import Plan
    from farm.compile.groups import Group, Operation

_COMPILERS = ("apache-tvm", "apache-tvm-ffi", "onnxruntime")


def build_key(model: onnx.ModelProto, target: Target) -> str:
    """64 hex digits that name the artifact of `model` for `target`. Imports no TVM."""
    graph = sha256(model.SerializeToString(deterministic=True)).hexdigest()
    compiler = {name: version(name) for name in _COMPILERS}
    return digest([graph, targets.canonical(target), compiler, _sources_digest()])


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
    from farm.compile import check, fuse, graph, reference

    started_s = _cpu_s()
    resolved = targets.resolve(target)
    plan = fuse.plan(graph.read(model))
    kernels = kernels or KernelCache(store.root / "kernels")
    library = _library(plan, resolved, targets.canonical(target), kernels)
    program = reference.program(model)
    if targets.runs_here(resolved):
        check.check(library, program)
    return store.put(key, library, program, _cpu_s() - started_s)


def _library(plan: Plan, resolved: Any, target: str, kernels: KernelCache) -> bytes:
    from farm.compile import bytecode, linker

    found = {call.kernel: _kernel(call.kernel, resolved, target, kernels) for call in plan.calls}
    each = [found[call.kernel] for call in plan.calls]
    program = bytecode.program(plan, [k.steps for k in each], [k.temporaries for k in each])
    objects = [kernel.path for kernel in found.values()]
    return linker.link(objects, program, str(resolved.attrs["mtriple"]))


def _kernel(
    kernel: Group | Operation, resolved: Any, target: str, kernels: KernelCache
) -> StoredKernel:
    key = kernel_key(kernel, target)
    with kernels.building(key):
        stored = kernels.get(key)
        while stored is None:
            from farm.compile import lower

            made = lower.build(kernel, f"k{key[:24]}", resolved, targets.isa(resolved))
            kernels.put(key, made)
            stored = kernels.get(key)
    return stored


def _cpu_s() -> float:
    """CPU seconds of this process and of its ended children: the linker is one."""
    return sum(os.times()[:4])


@cache
def _sources_digest() -> str:
    """Digest of this package's sources: what the compiler makes depends on nearly all of them."""
    folder = Path(__file__).parent
    sources = sorted(folder.rglob("*.py"))
    return digest(
        [(str(p.relative_to(folder)), sha256(p.read_bytes()).hexdigest()) for p in sources]
    )
