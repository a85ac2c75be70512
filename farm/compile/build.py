"""An ONNX model becomes an artifact: built once, checked against onnxruntime, stored."""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from farm.compile import target as targets
from farm.compile.artifacts import ArtifactStore
from farm.types import Artifact, Target, digest

if TYPE_CHECKING:
    import onnx

_COMPILERS = ("apache-tvm", "apache-tvm-ffi", "onnxruntime")


def build_key(model: onnx.ModelProto, target: Target) -> str:
    """64 hex digits that name the artifact of `model` for `target`. Imports no TVM."""
    graph = sha256(model.SerializeToString(deterministic=True)).hexdigest()
    compiler = {name: version(name) for name in _COMPILERS}
    return digest([graph, targets.canonical(target), compiler, _sources_digest()])


def build(model: onnx.ModelProto, target: Target, store: ArtifactStore) -> Artifact:
    """The artifact of `model` for `target`: from the store, or built, checked and stored.

    model: float32 with static shapes; the network's input first, then weights and biases.
    Raises TargetError, BuildError, StoreFull.
    """
    key = build_key(model, target)
    stored = store.get(key)
    if stored is not None:
        return stored
    from farm.compile import check, lower, reference

    started_s = _cpu_s()
    resolved = targets.resolve(target)
    program = reference.program(model)
    library = lower.library(model, resolved)
    if targets.runs_here(resolved):
        check.check(library, program)
    return store.put(key, library, program, _cpu_s() - started_s)


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
