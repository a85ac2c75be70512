"""ONNX to scheduled TVM kernels and a shared library. The only module that imports all of TVM."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

# TVM reads both when its thread pool starts: it would pin this thread to core 0.
os.environ.setdefault("TVM_BIND_THREADS", "0")
os.environ.setdefault("TVM_NUM_THREADS", "1")

import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.s_tir.dlight.base.transform import ApplyDefaultSchedule

from farm.compile.schedules import CpuRule
from farm.errors import BuildError

if TYPE_CHECKING:
    import onnx


def library(model: onnx.ModelProto, target: Any) -> bytes:
    """The shared library of a network for a resolved target. Raises BuildError."""
    module = kernels(model, target)
    executable = tvm.compile(module, target, relax_pipeline="default")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.so"
        executable.export_library(str(path))
        return path.read_bytes()


def kernels(model: onnx.ModelProto, target: Any) -> Any:
    """The IRModule of a network: a Relax `main` and its fused, scheduled kernels."""
    module = _imported(model)
    passes = [
        relax.transform.DecomposeOpsForInference(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
        ApplyDefaultSchedule(CpuRule(target)),
    ]
    with target:
        return tvm.transform.Sequential(passes)(module)


def _imported(model: onnx.ModelProto) -> Any:
    try:
        return from_onnx(model, keep_params_in_input=True)
    except Exception as error:
        raise BuildError(f"TVM does not import {model.graph.name!r}: {error}") from error
