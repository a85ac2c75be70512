"""From an ONNX model to a CUDA library, in a worker whose TVM finds CUDA."""

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.backend.cuda import pipeline as passes
from tvm.relax.frontend.onnx import from_onnx
from tvm.s_tir import dlight

from farm.compile import target as targets
from farm.compile.linker import find_linker, link
from farm.core.errors import BuildError, TargetError
from farm.core.values import Target


def library(model: bytes, target: Target) -> tuple[bytes, str | None]:
    """A shared library for the host's CPU and the GPU, and the GPU's architecture; None where
    nothing is left to compute, as in a network whose output is the same for every input.

    Fused and scheduled by TVM's own passes and rules. Raises TargetError, BuildError.
    """
    resolved = _with_host(_resolved(target))
    module = _imported(model)
    with resolved:
        executable = tvm.compile(module, target=resolved, relax_pipeline=_pipeline(resolved))
    triple = str(resolved.host.attrs["mtriple"])
    if not _has_kernels(executable):
        # TVM would export what is left as source in C.
        return link([], _pack(executable.mod), triple), None
    return _linked(executable, triple), str(resolved.attrs["arch"])


def _resolved(target: Target) -> Any:
    if isinstance(target, Mapping) and not target.keys() & {"arch", "tag"}:
        raise TargetError(f"a CUDA target needs `arch`, such as 'sm_90'; got {dict(target)}")
    resolved = targets.resolve(target)
    arch, known = str(resolved.attrs["arch"]), _nvcc_architectures()
    # The suffix says that code may use what later architectures do not have.
    if not re.fullmatch(r"sm_\d+[af]?", arch) or arch.rstrip("af") not in known:
        raise TargetError(
            f"nvcc compiles for {', '.join(known)}, and not for {arch!r}; "
            "for older ones, put the nvcc of an older CUDA toolkit on the PATH"
        )
    return resolved


def _with_host(target: Any) -> Any:
    """TVM's own default host is the machine that its wheel was built on."""
    if target.host is not None and "mtriple" in target.host.attrs:
        return target
    host = {"kind": "llvm", "mtriple": f"{platform.machine()}-linux-gnu"}
    return tvm.target.Target(target, host=host)


@cache
def _nvcc_architectures() -> tuple[str, ...]:
    try:
        done = subprocess.run(
            ["nvcc", "--list-gpu-code"], check=True, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(
            f"CUDA targets need nvcc, of the CUDA toolkit, on the PATH: {error}"
        ) from error
    return tuple(sorted(done.stdout.split(), key=lambda name: int(name.removeprefix("sm_"))))


def _imported(model: bytes) -> Any:
    try:
        return from_onnx(onnx.load_model_from_string(model))
    # The importer raises whatever the code of an operator happens to raise.
    except Exception as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise BuildError(f"TVM does not import the network: {reason[0]}") from error


def _pipeline(target: Any) -> Any:
    """TVM's pipeline for CUDA, but views are told from kernels before schedules hide the views.

    Otherwise every bias is copied by a kernel of its own, on each run.
    """
    *lowering, _ = passes.legalize_passes(target)
    return tvm.transform.Sequential(
        [
            *passes.library_dispatch_passes(target),
            *lowering,
            relax.transform.RewriteDataflowReshape(),
            relax.transform.DeadCodeElimination(),
            dlight.ApplyDefaultSchedule(*_rules()),
            *passes.dataflow_lower_passes(target),
            *passes.finalize_passes(target),
        ]
    )


class _Reduction(dlight.gpu.Reduction):  # type: ignore[misc]
    """TVM's rule, but for reductions whose input splits a spatial axis, as in a grouped convolution
    with a few groups: there TVM (0.27) has a thread finish sums that another one keeps in its
    registers, and the result is wrong."""

    def _normalize(self, *arguments: Any) -> tuple[Any, ...]:
        found: tuple[Any, ...] = super()._normalize(*arguments)
        _, split_factor, *_ = found
        return found if split_factor is None else (None,) * len(found)


def _rules() -> Sequence[Any]:
    """Of TVM's CUDA pipeline, in its order."""
    gpu = dlight.gpu
    return gpu.Matmul(), gpu.GEMV(), _Reduction(), gpu.GeneralReduction(), gpu.Fallback()


def _has_kernels(executable: Any) -> bool:
    return any(module.kind == "cuda" for host in executable.mod.imports for module in host.imports)


def _pack(module: Any) -> bytes:
    """A module as TVM's loader reads it from a library."""
    pack = tvm.get_global_func("runtime.ModulePackImportsToTensor")
    packed: bytes = pack(module).numpy().tobytes()
    return packed


def _linked(executable: Any, triple: str) -> bytes:
    linker = [find_linker(triple), "-shared", "-s", "-z", "noexecstack"]

    def run(output: str, objects: Sequence[str], **_: Any) -> None:
        subprocess.run([*linker, "-o", output, *objects], check=True, timeout=60)

    with tempfile.TemporaryDirectory(prefix="farm-cuda-") as folder:
        path = Path(folder) / "network.so"
        executable.export_library(str(path), fcompile=run)
        return path.read_bytes()
